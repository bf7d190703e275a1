// The AVX-512 instructions that the kernels use, in plain loops and AVX2, so that what is built on
// them can be tested on any processor with AVX2. Their meaning is Intel's (Intrinsics Guide).
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>

// Calls instead of copies of them, which take the compiler a third of its time.
#define EMULATED __attribute__((noinline)) inline

namespace emulated {

// f(i) for each lane.
template <class Lanes, class F>
inline Lanes each(const F& f) {
  Lanes lanes{};
  for (unsigned i = 0; i < sizeof(Lanes) / sizeof(lanes[0]); ++i) lanes[i] = f(i);
  return lanes;
}
template <class Vector>
inline Vector read(const void* p) {
  Vector v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <class To, class From>
inline To as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  return read<To>(&x);
}

EMULATED __m512 setzero_ps() { return __m512{}; }
EMULATED __m512 set1_ps(float x) {
  return each<__m512>([&](int) { return x; });
}
EMULATED __m512 loadu_ps(const void* p) { return read<__m512>(p); }
EMULATED void storeu_ps(void* p, __m512 a) { std::memcpy(p, &a, sizeof(a)); }
EMULATED __m512 add_ps(__m512 a, __m512 b) { return a + b; }
EMULATED __m512 sub_ps(__m512 a, __m512 b) { return a - b; }
EMULATED __m512 mul_ps(__m512 a, __m512 b) { return a * b; }
EMULATED __m512 div_ps(__m512 a, __m512 b) { return a / b; }
EMULATED __m512 fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return each<__m512>([&](int i) { return std::fma(a[i], b[i], c[i]); });
}
// The second operand if either is not a number.
EMULATED __m512 max_ps(__m512 a, __m512 b) {
  return each<__m512>([&](int i) { return a[i] > b[i] ? a[i] : b[i]; });
}
EMULATED __m512 min_ps(__m512 a, __m512 b) {
  return each<__m512>([&](int i) { return a[i] < b[i] ? a[i] : b[i]; });
}
EMULATED __m512 abs_ps(__m512 a) {
  return each<__m512>([&](int i) { return std::fabs(a[i]); });
}
// To whole numbers, ties to even: all that the kernels ask for.
template <int Control>
EMULATED __m512 roundscale_ps(__m512 a) {
  static_assert(Control == 0);
  return each<__m512>([&](int i) { return std::nearbyint(a[i]); });
}
EMULATED float reduce_add_ps(__m512 a) {
  float s = 0;
  for (int i = 0; i < 16; ++i) s += a[i];
  return s;
}
EMULATED float reduce_max_ps(__m512 a) {
  float s = a[0];
  for (int i = 1; i < 16; ++i) s = s > a[i] ? s : a[i];
  return s;
}

EMULATED __m512i setzero_si512() { return __m512i{}; }
EMULATED __m512i set1_epi32(int32_t x) { return as<__m512i>(__v16si{} + x); }
EMULATED __m512i set1_epi8(int8_t x) { return as<__m512i>(__v64qi{} + x); }
EMULATED __m512i loadu_si512(const void* p) { return read<__m512i>(p); }
EMULATED __m512i and_si512(__m512i a, __m512i b) { return a & b; }
EMULATED __m512i xor_si512(__m512i a, __m512i b) { return a ^ b; }
EMULATED __m512i add_epi32(__m512i a, __m512i b) {
  return as<__m512i>(as<__v16su>(a) + as<__v16su>(b));
}
EMULATED __m512i slli_epi32(__m512i a, unsigned n) { return as<__m512i>(as<__v16su>(a) << n); }
EMULATED __m512i srli_epi32(__m512i a, unsigned n) { return as<__m512i>(as<__v16su>(a) >> n); }
EMULATED __m512i srli_epi16(__m512i a, unsigned n) { return as<__m512i>(as<__v32hu>(a) >> n); }
EMULATED __m512i srl_epi16(__m512i a, __m128i n) { return srli_epi16(a, unsigned(as<__v4si>(n)[0])); }
EMULATED __m512i slli_epi16(__m512i a, unsigned n) { return as<__m512i>(as<__v32hu>(a) << n); }
EMULATED __m512i set1_epi16(int16_t x) { return as<__m512i>(__v32hi{} + x); }
EMULATED __m512i cvtepi8_epi16(__m256i a) {
  return as<__m512i>(each<__v32hi>([v = as<__v32qi>(a)](int i) { return short(int8_t(v[i])); }));
}
template <int Half>
EMULATED __m256i extracti64x4_epi64(__m512i a) {
  return read<__m256i>(reinterpret_cast<const long long*>(&a) + 4 * Half);
}
EMULATED __m512i mask_or_epi32(__m512i from, __mmask16 mask, __m512i a, __m512i b) {
  __v16si kept = as<__v16si>(from), merged = as<__v16si>(a | b);
  return as<__m512i>(each<__v16si>([&](int i) { return mask >> i & 1 ? merged[i] : kept[i]; }));
}
template <int Predicate>
EMULATED __mmask16 cmp_ps_mask(__m512 a, __m512 b) {
  static_assert(Predicate == _CMP_UNORD_Q);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= unsigned(std::isnan(a[i]) || std::isnan(b[i])) << i;
  return __mmask16(mask);
}

EMULATED __m512i castps_si512(__m512 a) { return as<__m512i>(a); }
EMULATED __m512 castsi512_ps(__m512i a) { return as<__m512>(a); }
EMULATED __m512 cvtepi32_ps(__m512i a) {
  return each<__m512>([v = as<__v16si>(a)](int i) { return float(v[i]); });
}
// To the nearest, ties to even; the most negative number for what does not fit.
EMULATED __m512i cvtps_epi32(__m512 a) {
  return as<__m512i>(each<__v16si>([&](int i) {
    float x = std::nearbyint(a[i]);
    return x >= -2147483648.0f && x < 2147483648.0f ? int32_t(x) : std::numeric_limits<int32_t>::min();
  }));
}
EMULATED __m512i cvtepi8_epi32(__m128i a) {
  __m256i parts[] = {_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8))};
  return read<__m512i>(parts);
}
EMULATED __m512i cvtepu16_epi32(__m256i a) {
  return as<__m512i>(each<__v16si>([v = as<__v16hu>(a)](int i) { return int32_t(v[i]); }));
}
// These two cut off what does not fit.
EMULATED __m128i cvtepi32_epi8(__m512i a) {
  return as<__m128i>(each<__v16qi>([v = as<__v16si>(a)](int i) { return char(v[i]); }));
}
EMULATED __m256i cvtepi32_epi16(__m512i a) {
  return as<__m256i>(each<__v16hi>([v = as<__v16si>(a)](int i) { return short(v[i]); }));
}
EMULATED __m512 cvtph_ps(__m256i a) {
  __m256 parts[] = {_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))};
  return read<__m512>(parts);
}

// Within each 128 bits: the first or the second half of both, in turn.
template <class Vector>
EMULATED __m512 unpack(__m512 a, __m512 b, int half) {
  auto left = as<Vector>(a), right = as<Vector>(b);
  constexpr int kLane = 16 / sizeof(left[0]);
  return as<__m512>(each<Vector>([&](int i) {
    int from = i / kLane * kLane + half * kLane / 2 + i % kLane / 2;
    return i % 2 ? right[from] : left[from];
  }));
}
EMULATED __m512 unpacklo_ps(__m512 a, __m512 b) { return unpack<__v16sf>(a, b, 0); }
EMULATED __m512 unpackhi_ps(__m512 a, __m512 b) { return unpack<__v16sf>(a, b, 1); }
EMULATED __m512d unpacklo_pd(__m512d a, __m512d b) { return as<__m512d>(unpack<__v8df>(as<__m512>(a), as<__m512>(b), 0)); }
EMULATED __m512d unpackhi_pd(__m512d a, __m512d b) { return as<__m512d>(unpack<__v8df>(as<__m512>(a), as<__m512>(b), 1)); }
template <int Half>
EMULATED __m256 extractf32x8_ps(__m512 a) {
  return read<__m256>(reinterpret_cast<const float*>(&a) + 8 * Half);
}

// Four products of an unsigned with a signed byte are added to each lane, without saturation.
EMULATED __m512i dpbusd_epi32(__m512i sums, __m512i a, __m512i b) {
  auto bytes = as<__v64qu>(a);
  auto steps = as<__v64qi>(b);
  auto before = as<__v16su>(sums);
  return as<__m512i>(each<__v16su>([&](int i) {
    int32_t sum = 0;
    for (int j = 4 * i; j < 4 * i + 4; ++j) sum += int32_t(bytes[j]) * int8_t(steps[j]);
    return before[i] + uint32_t(sum);
  }));
}

EMULATED float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
// Two products of bf16, the second pair first; what is too small to be normal counts as zero.
EMULATED __m512 dpbf16_ps(__m512 sums, __m512bh a, __m512bh b) {
  auto left = as<__v32hu>(a), right = as<__v32hu>(b);
  auto widen = [](uint16_t x) { return flushed(as<float>(uint32_t(x) << 16)); };
  return each<__m512>([&](int i) {
    float sum = flushed(sums[i]);
    for (int j : {2 * i + 1, 2 * i}) sum = flushed(std::fma(widen(left[j]), widen(right[j]), sum));
    return sum;
  });
}

// Of an infinite exponent, what is not a number makes infinity or zero.
EMULATED __m512 scalef_ps(__m512 a, __m512 b) {
  return each<__m512>([&](int i) {
    float factor = std::exp2(std::floor(b[i]));
    return std::isnan(a[i]) && std::isinf(b[i]) ? factor : a[i] * factor;
  });
}

// As far off as the instruction may be: by 2^-14 of it.
EMULATED __m512 rcp14_ps(__m512 a) {
  return each<__m512>([&](int i) { return as<float>(as<uint32_t>(1.0f / a[i]) & ~0x1ffu); });
}

// To the nearest bf16, ties to even; what is too small to be normal becomes zero.
EMULATED __m256bh cvtneps_pbh(__m512 a) {
  return as<__m256bh>(each<__v16hu>([&](int i) {
    if (std::isnan(a[i])) return uint16_t(as<uint32_t>(float(a[i])) >> 16 | 0x40);
    uint32_t bits = as<uint32_t>(flushed(a[i]));
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }));
}

// Those of the second operand are the first.
EMULATED __m512bh cvtne2ps_pbh(__m512 a, __m512 b) {
  __m256bh halves[] = {cvtneps_pbh(b), cvtneps_pbh(a)};
  return read<__m512bh>(halves);
}

}  // namespace emulated

#define _mm512_setzero_ps emulated::setzero_ps
#define _mm512_set1_ps emulated::set1_ps
#define _mm512_loadu_ps emulated::loadu_ps
#define _mm512_storeu_ps emulated::storeu_ps
#define _mm512_add_ps emulated::add_ps
#define _mm512_sub_ps emulated::sub_ps
#define _mm512_mul_ps emulated::mul_ps
#define _mm512_div_ps emulated::div_ps
#define _mm512_fmadd_ps emulated::fmadd_ps
#define _mm512_max_ps emulated::max_ps
#define _mm512_min_ps emulated::min_ps
#define _mm512_abs_ps emulated::abs_ps
#define _mm512_roundscale_ps(a, control) emulated::roundscale_ps<control>(a)
#define _mm512_reduce_add_ps emulated::reduce_add_ps
#define _mm512_reduce_max_ps emulated::reduce_max_ps
#define _mm512_setzero_si512 emulated::setzero_si512
#define _mm512_set1_epi32 emulated::set1_epi32
#define _mm512_set1_epi8 emulated::set1_epi8
#define _mm512_loadu_si512 emulated::loadu_si512
#define _mm512_and_si512 emulated::and_si512
#define _mm512_xor_si512 emulated::xor_si512
#define _mm512_add_epi32 emulated::add_epi32
#define _mm512_slli_epi32 emulated::slli_epi32
#define _mm512_srli_epi32 emulated::srli_epi32
#define _mm512_srli_epi16 emulated::srli_epi16
#define _mm512_srl_epi16 emulated::srl_epi16
#define _mm512_slli_epi16 emulated::slli_epi16
#define _mm512_set1_epi16 emulated::set1_epi16
#define _mm512_cvtepi8_epi16 emulated::cvtepi8_epi16
#define _mm512_castsi512_si256 emulated::extracti64x4_epi64<0>
#define _mm512_extracti64x4_epi64(a, half) emulated::extracti64x4_epi64<half>(a)
#define _mm512_mask_or_epi32 emulated::mask_or_epi32
#define _mm512_cmp_ps_mask(a, b, predicate) emulated::cmp_ps_mask<predicate>(a, b)
#define _mm512_castps_si512 emulated::castps_si512
#define _mm512_castsi512_ps emulated::castsi512_ps
#define _mm512_cvtepi32_ps emulated::cvtepi32_ps
#define _mm512_cvtps_epi32 emulated::cvtps_epi32
#define _mm512_cvtepi8_epi32 emulated::cvtepi8_epi32
#define _mm512_cvtepu16_epi32 emulated::cvtepu16_epi32
#define _mm512_cvtepi32_epi8 emulated::cvtepi32_epi8
#define _mm512_cvtepi32_epi16 emulated::cvtepi32_epi16
#define _mm512_cvtph_ps emulated::cvtph_ps
#define _mm512_dpbusd_epi32 emulated::dpbusd_epi32
#define _mm512_dpbf16_ps emulated::dpbf16_ps
#define _mm512_castps_pd emulated::as<__m512d, __m512>
#define _mm512_castpd_ps emulated::as<__m512, __m512d>
#define _mm512_castps512_ps256 emulated::extractf32x8_ps<0>
#define _mm512_extractf32x8_ps(a, half) emulated::extractf32x8_ps<half>(a)
#define _mm512_unpacklo_ps emulated::unpacklo_ps
#define _mm512_unpackhi_ps emulated::unpackhi_ps
#define _mm512_unpacklo_pd emulated::unpacklo_pd
#define _mm512_unpackhi_pd emulated::unpackhi_pd
#define _mm512_cvtneps_pbh emulated::cvtneps_pbh
#define _mm512_cvtne2ps_pbh emulated::cvtne2ps_pbh
#define _mm512_scalef_ps emulated::scalef_ps
#define _mm512_rcp14_ps emulated::rcp14_ps
