// Micro-kernels of matmul.cpp with float accumulators: R rows with P panels, `bytes` apart.
#pragma once

#include "microkernel.h"

namespace octavo {
namespace {

struct Float32Panel {
  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    constexpr int N = P * R, S = kPartialSums<N>;
    Vec acc[S][N];
    read_tiles<R>(acc, tiles);
    for (int k = 0; k < inputs; k += S) {
      size_t ahead = prefetch_offset<R, P>(k * kLanes * 4, bytes);
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        Vec b[P];
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const float* w = reinterpret_cast<const float*>(panel + p * bytes) + (k + s) * kLanes;
          if (kPrefetches<R>) prefetch_ahead<L>(w, ahead);
          b[p] = load(w);
        }
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r) {
          Vec x = splat(a.values[r * a.stride + k + s]);
#pragma GCC unroll 4
          for (int p = 0; p < P; ++p) acc[s][p * R + r] = fma(x, b[p], acc[s][p * R + r]);
        }
      }
    }
    write_tiles<R>(tiles, acc);
  }
};

struct BFloat16Panel {
  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    constexpr int N = P * R, S = N <= 3 ? 2 : 1;
    Vec acc[S][N];
    read_tiles<R>(acc, tiles);
    for (int k = 0; k < inputs; k += 2) {
      size_t ahead = prefetch_offset<R, P>(k * kLanes * 2, bytes);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const uint16_t* w = reinterpret_cast<const uint16_t*>(panel + p * bytes) + k * kLanes;
        if (kPrefetches<R>) prefetch_ahead<L>(w, ahead);
        Vec even = load_first(w);
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r)
          acc[0][p * R + r] = fma(splat(a.values[r * a.stride + k]), even, acc[0][p * R + r]);
        Vec odd = load_second(w);
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r)
          acc[S - 1][p * R + r] = fma(splat(a.values[r * a.stride + k + 1]), odd, acc[S - 1][p * R + r]);
      }
    }
    write_tiles<R>(tiles, acc);
  }
};

#if defined(OCTAVO_BF16)
struct BFloat16DotPanel {
  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    constexpr int N = P * R, S = kPartialSums<N>;
    Vec acc[S][N];
    read_tiles<R>(acc, tiles);
    for (int k = 0; k < inputs; k += 2 * S) {
      size_t ahead = prefetch_offset<R, P>(k * kLanes * 2, bytes);
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        __m512bh b[P];
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const uint8_t* line = panel + p * bytes + (k + 2 * s) * kLanes * 2;
          if (kPrefetches<R>) prefetch_ahead<L>(line, ahead);
          b[p] = (__m512bh)_mm512_loadu_si512(line);
        }
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r) {
          int32_t pair;
          std::memcpy(&pair, a.bf16 + r * a.bf16_stride + k + 2 * s, 4);
          __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
          for (int p = 0; p < P; ++p) {
            Vec& to = acc[s][p * R + r];
            to.v = _mm512_dpbf16_ps(to.v, b[p], x);
          }
        }
      }
    }
    write_tiles<R>(tiles, acc);
  }
};
#endif

}  // namespace
}  // namespace octavo
