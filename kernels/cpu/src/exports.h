// Exported symbols, for Python; -fvisibility=hidden hides all others.
#pragma once

#include <cstdint>

#define OCTAVO_EXPORT extern "C" __attribute__((visibility("default")))

// Size in bytes of a structure that Python passes: library.py compares it with its own.
#define OCTAVO_EXPORT_SIZE(type) \
  OCTAVO_EXPORT int64_t octavo_sizeof_##type() { return sizeof(octavo::type); }
