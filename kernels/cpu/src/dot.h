// Sums of products within vectors, kept apart until several are added up at once.
#pragma once

#include "simd.h"

namespace octavo {

#if defined(__AVX2__) && !defined(OCTAVO_AVX512)
constexpr int kDotWidth = 8;

class Dot {
 public:
  void add(Vec a, Vec b) { sums_ = _mm256_fmadd_ps(a.hi, b.hi, _mm256_fmadd_ps(a.lo, b.lo, sums_)); }
  void write(float* to) const { _mm256_storeu_ps(to, sums_); }

 private:
  __m256 sums_ = _mm256_setzero_ps();
};
#else
constexpr int kDotWidth = kLanes;

class Dot {
 public:
  void add(Vec a, Vec b) { sums_ = fma(a, b, sums_); }
  void write(float* to) const { store(to, sums_); }

 private:
  Vec sums_ = zero();
};
#endif

// out[0..7] = the sum of each of eight dots that were written one after another.
#if defined(__AVX2__)
inline __m256 halved(const float* dot) {
  __m256 sums = _mm256_loadu_ps(dot);
  return kDotWidth == 8 ? sums : _mm256_add_ps(sums, _mm256_loadu_ps(dot + kDotWidth - 8));
}

inline void sum_eight(const float* dots, float* out) {
  __m256 pairs[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) pairs[i] = _mm256_hadd_ps(halved(dots + 2 * i * kDotWidth), halved(dots + (2 * i + 1) * kDotWidth));
  __m256 low = _mm256_hadd_ps(pairs[0], pairs[1]), high = _mm256_hadd_ps(pairs[2], pairs[3]);
  _mm256_storeu_ps(out, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)));
}
#else
inline void sum_eight(const float* dots, float* out) {
  for (int i = 0; i < 8; ++i) out[i] = sum(load(dots + i * kDotWidth));
}
#endif

}  // namespace octavo
