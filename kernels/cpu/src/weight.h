// Memory layout of a linear layer's weights, and of the activation rows that they are multiplied with.
//
// A weight [n, k] is cut into panels of sixteen outputs. Within a panel, k runs slowest, and the inputs
// that one dot-product instruction takes of each output lie together:
//   float32  [k][16]            bf16  [k / 2][16][2]            int8  [k / 4][16][4]
//   int4     for each group of 64 inputs [8][16][4] bytes, whose low halves are inputs 4j … 4j + 3
//            and whose high halves are 32 inputs further; then 16 scales and 16 zeros in float16:
//            weight = scale * q + zero, q from 0 to 15.
// The same bytes serve AVX2, AVX-512 and AMX. Both n and k are padded with zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd.h"

namespace octavo {

enum Format : int32_t { kFloat32 = 0, kBFloat16 = 1, kInt8 = 2, kInt4 = 3 };

constexpr int kGroup = 64;
constexpr int kInt4GroupBytes = kGroup * kLanes / 2 + 2 * kLanes * 2;

inline int round_up(int x, int to) { return (x + to - 1) / to * to; }

// Passed from Python; keep packing.py in step.
struct Weight {
  const void* data;
  const float* scale;  // int8: of each output, padded
  const float* bias;   // of each output, padded; or null
  int32_t n, k;
  int32_t format;
  int32_t bf16_activations;  // bf16 weights: activations may be rounded to bf16 as well

  int panels() const { return (n + kLanes - 1) / kLanes; }
  int padded_k() const { return round_up(k, kGroup); }
};

inline size_t panel_bytes(Format format, int padded_k) {
  switch (format) {
    case kFloat32: return size_t(padded_k) * kLanes * 4;
    case kBFloat16: return size_t(padded_k) * kLanes * 2;
    case kInt8: return size_t(padded_k) * kLanes;
    default: return size_t(padded_k) / kGroup * kInt4GroupBytes;
  }
}

// Per-group (64) quantisation of an activation row: scale, scale·Σq, Σq.
struct RowGroup {
  float scale, scaled_sum;
  int32_t sum;
};

// Activation rows, padded with zeros to padded_k, in the formats that weights are multiplied with:
// float32 `values`, `bf16`, and `q8`, symmetric int8 with a scale for each group.
struct Rows {
  const float* values;
  size_t stride;
  const uint16_t* bf16;
  size_t bf16_stride;
  const int8_t* q8;
  size_t q8_stride;
  const RowGroup* groups;  // [group][row], groups_stride apart
  size_t groups_stride;

  const RowGroup* group(int row, int input) const { return groups + input / kGroup * groups_stride + row; }

  // Sub-matrix from a row and an input on; the input is a multiple of 64.
  Rows from(int row, int input) const {
    return {values + row * stride + input, stride, bf16 + row * bf16_stride + input, bf16_stride,
            q8 + row * q8_stride + input, q8_stride, group(row, input), groups_stride};
  }
};

// ISA has bf16 dot products.
#if defined(OCTAVO_BF16)
constexpr bool kBF16Products = true;
#else
constexpr bool kBF16Products = false;
#endif

// Activation formats (bit mask) that a weight's kernel reads.
enum RowFormat : int { kRowFloat = 1, kRowBF16 = 2, kRowQ8 = 4 };

inline int row_format(const Weight& w) {
  if (w.format >= kInt8) return kRowQ8;
  return w.format == kBFloat16 && w.bf16_activations && kBF16Products ? kRowBF16 : kRowFloat;
}

}  // namespace octavo
