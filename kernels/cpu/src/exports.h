// Exported symbols, for Python; -fvisibility=hidden hides all others.
#pragma once

#include <cstdint>

#define OCTAVO_EXPORT extern "C" __attribute__((visibility("default")))
