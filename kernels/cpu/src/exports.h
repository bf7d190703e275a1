// What Python may call is visible; all else is hidden by a compiler flag.
#pragma once

#include <cstdint>

#define OCTAVO_EXPORT extern "C" __attribute__((visibility("default")))
