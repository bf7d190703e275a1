// Tuning parameters: choices whose better side depends on the machine. Python measures them once
// (tuning.py) and passes them to octavo_tune.
#pragma once

#include <cstdint>

#include "formats.h"

namespace octavo {

// Passed from Python; keep library.py in step.
struct Tuning {
  int32_t stream_weights = 0;        // non-temporal prefetch of a single row's weights
  int32_t tile_rows[kFormats] = {};  // fewest rows that use AMX tiles, by Format; 0: never

  bool tiles(Format format, int rows) const {
    int32_t fewest = tile_rows[format];
    return fewest > 0 && rows >= fewest;
  }
};

extern Tuning tuning;

}  // namespace octavo
