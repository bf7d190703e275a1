// Products of a few query rows with keys and values where they lie in the cache: for so few, laying
// them out as panels would cost more than it saves.
#pragma once

#include "simd.h"

namespace octavo {

constexpr int kDirectRows = 8;
constexpr int kDirectBlock = 4;  // rows at a time, as many as registers hold

// scores[key / 16][row][key % 16] = queries[row] · keys[key]; `dim` is a multiple of 16.
template <class Element, int R>
void score_directly(const float* queries, size_t stride, const Element* const* keys, int count, int dim,
                    float* scores, int rows) {
  for (int key = 0; key < count; ++key) {
    Vec acc[R];
    for (int r = 0; r < R; ++r) acc[r] = zero();
    for (int d = 0; d < dim; d += kLanes) {
      Vec k = load(keys[key] + d);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[r] = fma(load(queries + r * stride + d), k, acc[r]);
    }
    float* to = scores + size_t(key / kLanes) * rows * kLanes + key % kLanes;
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) to[r * kLanes] = sum(acc[r]);
  }
}

// output[d / 16][row][d % 16] += the sum over keys of weights[row][key] * values[key][d].
template <class Element, int R>
void add_directly(const float* weights, size_t stride, const Element* const* values, int count, int dim,
                  float* output, int rows) {
  for (int d = 0; d < dim; d += kLanes) {
    float* to = output + size_t(d) * rows;
    Vec acc[R];
    for (int r = 0; r < R; ++r) acc[r] = load(to + r * kLanes);
    for (int key = 0; key < count; ++key) {
      Vec v = load(values[key] + d);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[r] = fma(splat(weights[r * stride + key]), v, acc[r]);
    }
    for (int r = 0; r < R; ++r) store(to + r * kLanes, acc[r]);
  }
}

// work(first row, number of rows as a constant) until all rows had their turn.
template <class Work>
void in_row_blocks(int rows, const Work& work) {
  int row = 0;
  for (; row + kDirectBlock <= rows; row += kDirectBlock) work(row, std::integral_constant<int, kDirectBlock>());
  switch (rows - row) {
    case 3: return work(row, std::integral_constant<int, 3>());
    case 2: return work(row, std::integral_constant<int, 2>());
    case 1: return work(row, std::integral_constant<int, 1>());
    default: return;
  }
}

}  // namespace octavo
