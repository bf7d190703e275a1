// A linear layer's packed weight, and the activation rows that it is multiplied with.
#pragma once

#include "formats.h"

namespace octavo {

constexpr int kMaxSegments = 3;

// Consecutive panels of one format. Passed from Python; keep library.py in step.
struct Segment {
  const uint8_t* data;
  int32_t panels;
  Format format;
};

// Passed from Python; keep library.py in step.
struct Weight {
  Segment segments[kMaxSegments];
  const float* scale;  // of each output, padded, where a format has it; or null
  const float* bias;   // of each output, padded; or null
  int32_t n, k;
  int32_t num_segments;
  int32_t bf16_activations;  // bf16 weights: activations may be rounded to bf16 as well

  int panels() const { return (n + kLanes - 1) / kLanes; }
  int padded_k() const { return round_up(k, kGroup); }

  // work(segment, first and last panel in it, panels of the weight before these) for what lies in
  // first … last.
  template <class Work>
  void each_segment(int first, int last, const Work& work) const {
    int start = 0;
    for (const Segment* s = segments; s < segments + num_segments; start += s++->panels) {
      int from = first > start ? first : start, end = start + s->panels, to = last < end ? last : end;
      if (from < to) work(*s, from - start, to - start, from);
    }
  }
};

// Per-block quantisation of an activation row: scale, scale·Σq, Σq, and Σq of each 16 inputs.
struct RowGroup {
  float scale, scaled_sum;
  int32_t sum;
  int16_t sums[kGroup / 16];

  // Of the part-th group of so many inputs.
  template <int Inputs>
  int32_t sum_of(int part) const {
    if constexpr (Inputs == kGroup) return sum;
    if constexpr (Inputs == 32) return sums[2 * part] + sums[2 * part + 1];
    return sums[part];
  }
  template <int Inputs>
  float scaled_sum_of(int part) const {
    if constexpr (Inputs == kGroup) return scaled_sum;
    return scale * float(sum_of<Inputs>(part));
  }
};

// Activation rows, padded with zeros to padded_k, in the formats that weights are multiplied with:
// float32 `values`, `bf16`, and `q8`, symmetric int8 with a scale for each block.
struct Rows {
  const float* values;
  size_t stride;
  const uint16_t* bf16;
  size_t bf16_stride;
  const int8_t* q8;
  size_t q8_stride;
  const RowGroup* groups;  // [block][row], groups_stride apart
  size_t groups_stride;

  const RowGroup* group(int row, int input) const { return groups + input / kGroup * groups_stride + row; }

  // Sub-matrix from a row and an input on; the input is a multiple of 64.
  Rows from(int row, int input) const {
    return {values + row * stride + input, stride, bf16 + row * bf16_stride + input, bf16_stride,
            q8 + row * q8_stride + input, q8_stride, group(row, input), groups_stride};
  }
};

// Of all of a weight's segments.
inline int row_format(const Weight& w) {
  int formats = 0;
  for (const Segment* s = w.segments; s < w.segments + w.num_segments; ++s)
    formats |= with_format(s->format, [&](auto f) { return f.rows(w.bf16_activations); });
  return formats;
}

}  // namespace octavo
