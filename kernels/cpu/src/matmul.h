// Products of rows with packed panels; see formats.h.
#pragma once

#include "weight.h"

namespace octavo {

#if defined(OCTAVO_AVX512)
constexpr int kMaxRows = 12;
#elif defined(__AVX2__)
constexpr int kMaxRows = 6;
#else
constexpr int kMaxRows = 4;
#endif

// Panels per GEMV pass: memory is read faster as several streams.
constexpr int kPanelsAtOnce = 4;

// Consecutive panels, each of k inputs.
struct Panels {
  const uint8_t* data;
  size_t bytes;
  int k;
  int count;
};

// tiles[p][r][c] = rows[r] · weight[(first + p) * 16 + c], without bias, for panels first … last.
void multiply(const Rows& a, int rows, const Weight& w, int first, int last, float* tiles);

// Product of bare panels of float32 or bf16 and rows of float32; tiles that are not fresh are added to.
// k is a multiple of 4.
void multiply_float(Format format, const Rows& a, int rows, const Panels& w, float* tiles, bool fresh);

// Product of bare panels and rows of bf16, where kBF16Products; k is a multiple of 32.
void multiply_bf16(const Rows& a, int rows, const Panels& w, float* tiles, bool fresh);

// Products of rows of q8 and panels of integers, without output scales.
void multiply_int8(const Rows& a, int rows, const Panels& w, float* tiles);
template <class F>
void multiply_grouped(const Rows& a, int rows, const Panels& w, float* tiles);

}  // namespace octavo
