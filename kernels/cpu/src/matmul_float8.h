// Micro-kernels of matmul.cpp for float8 codes with a scale for each block, and their widening.
#pragma once

#include "microkernel.h"

namespace octavo {
namespace {

inline Vec float8_factors(const uint8_t* block) {
  return load(reinterpret_cast<const float*>(block + Float8By64::kCodeBytes));
}

// tiles += sums * factors of each panel's block.
template <int R, int P>
inline void add_scaled(const uint8_t* block, size_t bytes, const Vec (&sums)[P * R], const Tiles& tiles) {
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    Vec factors = float8_factors(block + p * bytes);
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      float* tile = tiles.tile<R>(p * R + r);
      store(tile, fma(sums[p * R + r], factors, load(tile)));
    }
  }
}

// Rows of float32.
struct Float8Panel {
  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    if (tiles.fresh) clear_tiles<R, P>(tiles);
    for (int k = 0; k < inputs; k += kGroup) {
      size_t at = size_t(k) / kGroup * Float8By64::kBlockBytes, ahead = prefetch_offset<R, P>(at, bytes);
      Vec acc[P * R];
#pragma GCC unroll 32
      for (int i = 0; i < P * R; ++i) acc[i] = zero();
      for (int i = 0; i < kGroup; ++i) {
        Vec b[P];
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const uint8_t* codes = panel + p * bytes + at + i * kLanes;
          if (kPrefetches<R> && i % 4 == 0) prefetch_ahead<L>(codes, ahead);
          b[p] = load_float8(codes);
        }
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r) {
          Vec x = splat(a.values[r * a.stride + k + i]);
#pragma GCC unroll 4
          for (int p = 0; p < P; ++p) acc[p * R + r] = fma(x, b[p], acc[p * R + r]);
        }
      }
      add_scaled<R, P>(panel + at, bytes, acc, tiles);
    }
  }
};

#if defined(OCTAVO_BF16)
// Rows of bf16.
struct Float8DotPanel {
  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    if (tiles.fresh) clear_tiles<R, P>(tiles);
    for (int k = 0; k < inputs; k += kGroup) {
      size_t at = size_t(k) / kGroup * Float8By64::kBlockBytes, ahead = prefetch_offset<R, P>(at, bytes);
      Vec acc[P * R];
#pragma GCC unroll 32
      for (int i = 0; i < P * R; ++i) acc[i] = zero();
      for (int i = 0; i < kGroup; i += 2) {
        __m512bh b[P];
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const uint8_t* codes = panel + p * bytes + at + i * kLanes;
          if (kPrefetches<R> && i % 4 == 0) prefetch_ahead<L>(codes, ahead);
          b[p] = load_float8_pairs(codes);
        }
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r) {
          int32_t pair;
          std::memcpy(&pair, a.bf16 + r * a.bf16_stride + k + i, 4);
          __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
          for (int p = 0; p < P; ++p) acc[p * R + r].v = _mm512_dpbf16_ps(acc[p * R + r].v, b[p], x);
        }
      }
      add_scaled<R, P>(panel + at, bytes, acc, tiles);
    }
  }
};
#endif

// Blocks of a panel, scaled, in the layout of float32 or of bf16, which rounds them.
inline void widen_float8(const uint8_t* block, int inputs, float* wide) {
  for (; inputs > 0; inputs -= kGroup, block += Float8By64::kBlockBytes) {
    Vec factors = float8_factors(block);
    for (int i = 0; i < kGroup; ++i, wide += kLanes) store(wide, load_float8(block + i * kLanes) * factors);
  }
}
inline void widen_float8(const uint8_t* block, int inputs, uint16_t* wide) {
  for (; inputs > 0; inputs -= kGroup, block += Float8By64::kBlockBytes) {
    Vec factors = float8_factors(block);
    for (int i = 0; i < kGroup; i += 2, wide += 2 * kLanes) {
      uint16_t even[kLanes], odd[kLanes];
      store_bf16(even, load_float8(block + i * kLanes) * factors);
      store_bf16(odd, load_float8(block + (i + 1) * kLanes) * factors);
      for (int c = 0; c < kLanes; ++c) {
        wide[2 * c] = even[c];
        wide[2 * c + 1] = odd[c];
      }
    }
  }
}

}  // namespace
}  // namespace octavo
