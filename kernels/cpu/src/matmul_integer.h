// Micro-kernels of matmul_integer.cpp with integer accumulators for each group of inputs: R rows of q8
// activations with P panels, `bytes` apart.
#pragma once

#include <type_traits>

#include "microkernel.h"

namespace octavo {
namespace {

// Integer accumulators take two registers on AVX2, so fewer rows fit.
constexpr int kMaxQ8Rows = kMaxRows == 6 ? 4 : kMaxRows;

inline int32_t four_q8(const Rows& a, int row, int k) {
  int32_t four;
  std::memcpy(&four, a.q8 + row * a.q8_stride + k, 4);
  return four;
}

// Exact integer dot products of the part-th group of Inputs in a block, as floats: of q8 activations
// and codes, for every panel, row and output. w: the block, k: its first input.
#if defined(OCTAVO_VNNI)
// Accumulator type: as __m512i, which GCC treats as a vector of int64, sums would be copied around each
// product.
typedef int32_t Integers __attribute__((vector_size(64)));

inline Integers add_products(Integers sums, __m512i unsigned_bytes, __m512i bytes) {
  return (Integers)_mm512_dpbusd_epi32((__m512i)sums, unsigned_bytes, bytes);
}
struct Bytes {
  template <int Inputs, int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, int part, Vec (&out)[P * R]) {
    Integers acc[P * R];
    // vpdpbusd needs u8: bias weights by 128 and subtract 128·Σx.
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) acc[i] = Integers{} - 128 * a.group(i % R, k)->sum_of<Inputs>(part);
#pragma GCC unroll 1
    for (int j = part * Inputs / 4; j < (part + 1) * Inputs / 4; ++j) {
      __m512i b[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const uint8_t* line = w + p * bytes + j * 64;
        if (kPrefetches<R>) prefetch_ahead<L>(line, ahead);
        b[p] = _mm512_xor_si512(_mm512_loadu_si512(line), _mm512_set1_epi8(int8_t(0x80)));
      }
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r) {
        __m512i x = _mm512_set1_epi32(four_q8(a, r, k + 4 * j));
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) acc[p * R + r] = add_products(acc[p * R + r], b[p], x);
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) out[i].v = _mm512_cvtepi32_ps((__m512i)acc[i]);
  }
};
struct Nibbles {
  template <int Inputs, int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, int part, Vec (&out)[P * R]) {
    static_assert(Inputs == kGroup || Inputs == kGroup / 2);
    __m512i low = _mm512_set1_epi8(15);
    __m128i shift = _mm_cvtsi32_si128(4 * part);
    Integers acc[P * R];
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) acc[i] = Integers{};
#pragma GCC unroll 1
    for (int j = 0; j < kGroup / 8; ++j) {
      __m512i first[P], second[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const uint8_t* line = w + p * bytes + j * 64;
        if (kPrefetches<R>) prefetch_ahead<L>(line, ahead);
        __m512i both = _mm512_loadu_si512(line);
        first[p] = _mm512_and_si512(Inputs == kGroup ? both : _mm512_srl_epi16(both, shift), low);
        if (Inputs == kGroup) second[p] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      }
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r) {
        __m512i x = _mm512_set1_epi32(four_q8(a, r, k + part * Inputs + 4 * j)), y;
        if (Inputs == kGroup) y = _mm512_set1_epi32(four_q8(a, r, k + 32 + 4 * j));
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          Integers& to = acc[p * R + r];
          to = add_products(to, first[p], x);
          if (Inputs == kGroup) to = add_products(to, second[p], y);
        }
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) out[i].v = _mm512_cvtepi32_ps((__m512i)acc[i]);
  }
};
#elif defined(__AVX2__)
inline Vec to_vec(__m256i lo, __m256i hi) { return {_mm256_cvtepi32_ps(lo), _mm256_cvtepi32_ps(hi)}; }
inline __m256i load_bytes(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
struct Bytes {
  template <int Inputs, int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, int part, Vec (&out)[P * R]) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i lo[P * R], hi[P * R];
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) lo[i] = hi[i] = _mm256_setzero_si256();
    for (int j = part * Inputs / 4; j < (part + 1) * Inputs / 4; ++j) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const uint8_t* line = w + p * bytes + j * 64;
        if (kPrefetches<R>) prefetch_ahead<L>(line, ahead);
        __m256i b0 = load_bytes(line), b1 = load_bytes(line + 32);
        // vpmaddubsw needs u8: move the sign to the activations. Two products of at most 127 * 127 fit
        // in int16.
        __m256i u0 = _mm256_abs_epi8(b0), u1 = _mm256_abs_epi8(b1);
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r) {
          __m256i x = _mm256_set1_epi32(four_q8(a, r, k + 4 * j));
          __m256i p0 = _mm256_maddubs_epi16(u0, _mm256_sign_epi8(x, b0));
          __m256i p1 = _mm256_maddubs_epi16(u1, _mm256_sign_epi8(x, b1));
          lo[p * R + r] = _mm256_add_epi32(lo[p * R + r], _mm256_madd_epi16(p0, ones));
          hi[p * R + r] = _mm256_add_epi32(hi[p * R + r], _mm256_madd_epi16(p1, ones));
        }
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) out[i] = to_vec(lo[i], hi[i]);
  }
};
struct Nibbles {
  template <int Inputs, int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, int part, Vec (&out)[P * R]) {
    static_assert(Inputs == kGroup || Inputs == kGroup / 2);
    constexpr bool kBoth = Inputs == kGroup;
    const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
    __m128i shift = _mm_cvtsi32_si128(4 * part);
    __m256i total_lo[P * R], total_hi[P * R];
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) total_lo[i] = total_hi[i] = _mm256_setzero_si256();
    // Eight sums of two products of at most 15 * 127 fit in int16.
    constexpr int kLines = kBoth ? 4 : 8;
#pragma GCC unroll 1
    for (int line = 0; line < 8; line += kLines) {
      __m256i lo[P * R], hi[P * R];
#pragma GCC unroll 32
      for (int i = 0; i < P * R; ++i) lo[i] = hi[i] = _mm256_setzero_si256();
#pragma GCC unroll 1
      for (int j = line; j < line + kLines; ++j) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const uint8_t* codes = w + p * bytes + j * 64;
          if (kPrefetches<R>) prefetch_ahead<L>(codes, ahead);
          __m256i b0 = load_bytes(codes), b1 = load_bytes(codes + 32);
          __m256i first0 = _mm256_and_si256(kBoth ? b0 : _mm256_srl_epi16(b0, shift), low);
          __m256i first1 = _mm256_and_si256(kBoth ? b1 : _mm256_srl_epi16(b1, shift), low);
          __m256i second0 = _mm256_and_si256(_mm256_srli_epi16(b0, 4), low);
          __m256i second1 = _mm256_and_si256(_mm256_srli_epi16(b1, 4), low);
#pragma GCC unroll 32
          for (int r = 0; r < R; ++r) {
            __m256i &l = lo[p * R + r], &h = hi[p * R + r];
            __m256i x = _mm256_set1_epi32(four_q8(a, r, k + part * Inputs + 4 * j));
            l = _mm256_add_epi16(l, _mm256_maddubs_epi16(first0, x));
            h = _mm256_add_epi16(h, _mm256_maddubs_epi16(first1, x));
            if (kBoth) {
              __m256i y = _mm256_set1_epi32(four_q8(a, r, k + 32 + 4 * j));
              l = _mm256_add_epi16(l, _mm256_maddubs_epi16(second0, y));
              h = _mm256_add_epi16(h, _mm256_maddubs_epi16(second1, y));
            }
          }
        }
      }
#pragma GCC unroll 32
      for (int i = 0; i < P * R; ++i) {
        __m256i l = _mm256_madd_epi16(lo[i], ones), h = _mm256_madd_epi16(hi[i], ones);
        total_lo[i] = _mm256_add_epi32(total_lo[i], l);
        total_hi[i] = _mm256_add_epi32(total_hi[i], h);
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) out[i] = to_vec(total_lo[i], total_hi[i]);
  }
};
#else
template <int Inputs, class CodeAt>
inline Vec plain_sums(const Rows& a, int row, int k, int part, CodeAt code_at) {
  int32_t acc[kLanes] = {};
  for (int i = part * Inputs; i < (part + 1) * Inputs; ++i)
    for (int c = 0; c < kLanes; ++c) acc[c] += int32_t(a.q8[row * a.q8_stride + k + i]) * code_at(i, c);
  return load_int32(acc);
}
struct Bytes {
  template <int Inputs, int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t, int k, int part, Vec (&out)[P * R]) {
    for (int i = 0; i < P * R; ++i)
      out[i] = plain_sums<Inputs>(a, i % R, k, part, [&](int j, int c) {
        return int32_t(int8_t(w[i / R * bytes + (j / 4) * 64 + c * 4 + j % 4]));
      });
  }
};
struct Nibbles {
  template <int Inputs, int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t, int k, int part, Vec (&out)[P * R]) {
    for (int i = 0; i < P * R; ++i)
      out[i] = plain_sums<Inputs>(a, i % R, k, part, [&](int j, int c) {
        uint8_t both = w[i / R * bytes + (j % 32 / 4) * 64 + c * 4 + j % 4];
        return int32_t(j < 32 ? both & 15 : both >> 4);
      });
  }
};
#endif

// Output scales are applied at the end, by scale_tiles.
struct Int8Panel {
  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    if (tiles.fresh) clear_tiles<R, P>(tiles);
    for (int k = 0; k < inputs; k += kGroup) {
      Vec sums[P * R];
      size_t at = size_t(k) * kLanes;
      Bytes::sums<kGroup, R, P, L>(a, panel + at, bytes, prefetch_offset<R, P>(at, bytes), k, 0, sums);
#pragma GCC unroll 32
      for (int i = 0; i < P * R; ++i) {
        Vec scale = splat(a.group(i % R, k)->scale);
        float* tile = tiles.tile<R>(i);
        store(tile, fma(sums[i], scale, load(tile)));
      }
    }
  }
};

template <class F>
struct GroupedPanel {
  using Codes = std::conditional_t<F::kBits == 4, Nibbles, Bytes>;

  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    if (tiles.fresh) clear_tiles<R, P>(tiles);
    for (int k = 0; k < inputs; k += kGroup) {
      size_t at = size_t(k) / kGroup * F::kBlockBytes, ahead = prefetch_offset<R, P>(at, bytes);
      for (int part = 0; part < F::kGroups; ++part) {
        Vec sums[P * R];
        Codes::template sums<F::kInputs, R, P, L>(a, panel + at, bytes, ahead, k, part, sums);
        add<R, P>(a, panel + at + F::kCodeBytes + part * F::kFactorBytes, bytes, k, part, sums, tiles);
      }
    }
  }

 private:
  // tiles += scale * (sums * scale of the row) + offset * sum of the row, for one group.
  template <int R, int P>
  static void add(const Rows& a, const uint8_t* factors, size_t bytes, int k, int part, Vec (&sums)[P * R],
                  const Tiles& tiles) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const uint16_t* halves = reinterpret_cast<const uint16_t*>(factors + p * bytes);
      Vec scale = load_half(halves), offset = zero();
      if constexpr (F::kOffsets) offset = load_half(halves + kLanes);
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r) {
        int i = p * R + r;
        const RowGroup* group = a.group(r, k);
        float* tile = tiles.tile<R>(i);
        Vec before = load(tile);
        if constexpr (F::kOffsets)
          before = fma(splat(group->template scaled_sum_of<F::kInputs>(part)), offset, before);
        store(tile, fma(sums[i] * splat(group->scale), scale, before));
      }
    }
  }
};

}  // namespace
}  // namespace octavo
