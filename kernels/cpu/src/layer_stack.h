// State that decoder.cpp and encoder.cpp share: hidden states in float32, and each thread's scratch.
#pragma once

#include <algorithm>
#include <vector>

#include "attention.h"
#include "linear.h"

namespace octavo {

// Scratch buffers of one thread.
struct Scratch {
  Buffer<float> tiles, line;
  AttentionScratch attention;
};

class LayerStack {
 protected:
  explicit LayerStack(int hidden) : hidden_size_(hidden), stride_(round_up(hidden, kLanes)) {}

  void reserve(int rows, int threads) {
    hidden_.reserve(rows * stride_);
    if (int(scratch_.size()) < threads) scratch_ = std::vector<Scratch>(threads);
  }

  float* hidden(int row) const { return hidden_.data() + row * stride_; }

  // Input row, float32 or bf16, -> hidden states.
  void read_row(const void* input, bool bf16, int row) {
    size_t at = size_t(row) * hidden_size_;
    if (bf16) put_all(hidden(row), static_cast<const uint16_t*>(input) + at, hidden_size_);
    else put_all(hidden(row), static_cast<const float*>(input) + at, hidden_size_);
  }

  // Conversion of rows to the formats of the next weight, unless they were written in its format.
  static void convert(Team& team, int thread, int rows, const RowBuffer& buffer) {
    if (!buffer.direct()) each_row(team, thread, rows, [&](int row) { buffer.convert(row); });
  }

  int hidden_size_;
  size_t stride_, qkv_stride_ = 0;
  std::vector<Scratch> scratch_;
  AttentionPlan attention_;
  Buffer<float> hidden_, qkv_, parts_;
  RowBuffer normed_, attended_;
};

}  // namespace octavo
