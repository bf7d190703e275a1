// Native register of floats, for loops that must count registers. A Vec is one or two of them.
#pragma once

#include "cache_element.h"

namespace octavo {

#if defined(__AVX2__) && !defined(OCTAVO_AVX512)

constexpr int kRegister = 8;

struct Register {
  __m256 v;
};
inline Register register_of(float x) { return {_mm256_set1_ps(x)}; }
inline Register load_register(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, Register a) { _mm256_storeu_ps(p, a.v); }
inline Register fma(Register a, Register b, Register c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
// First or second element of each of eight pairs.
inline Register load_first_register(const uint16_t* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16))};
}
inline Register load_second_register(const uint16_t* p) {
  __m256i zeros;
  asm volatile("vpxor %0, %0, %0" : "=x"(zeros));  // re-zeroed per use so the compiler keeps no register for it
  return {_mm256_castsi256_ps(_mm256_blend_epi16(zeros, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 0xaa))};
}

inline Register load_register(const CacheInt8* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline Register load_register(const CacheFloat8* p) {
  __m256i halves = float8_halves(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves))};
}

#else

constexpr int kRegister = kLanes;

using Register = Vec;
inline Register register_of(float x) { return splat(x); }
template <class Element>
Register load_register(const Element* p) {
  return load(p);
}
inline Register load_first_register(const uint16_t* p) { return load_first(p); }
inline Register load_second_register(const uint16_t* p) { return load_second(p); }

#endif

// Elements of two registers, in the order of split_pairs.
constexpr int kPair = 2 * kRegister;

template <class Element>
Register load_first_register(const Element* p) {
  return load_register(p);
}
template <class Element>
Register load_second_register(const Element* p) {
  return load_register(p + kRegister);
}

// Deinterleave `count` values, times `scale`, into the order in which two registers load a cache's
// elements: of bf16 the even ones, then the odd ones.
template <class Element, class Value>
void split_pairs(const Value* from, int count, float scale, float* to) {
  constexpr bool split = sizeof(Element) == 2;
  for (int d = 0; d < count; d += kPair)
    for (int i = 0; i < kRegister; ++i) {
      to[d + i] = to_float(from[d + (split ? 2 * i : i)]) * scale;
      to[d + kRegister + i] = to_float(from[d + (split ? 2 * i + 1 : kRegister + i)]) * scale;
    }
}

// Inverse of split_pairs.
template <class Element>
void join_pairs(const float* from, int count, float scale, float* to) {
  constexpr bool split = sizeof(Element) == 2;
  for (int d = 0; d < count; d += kPair)
    for (int i = 0; i < kRegister; ++i) {
      to[d + (split ? 2 * i : i)] = from[d + i] * scale;
      to[d + (split ? 2 * i + 1 : kRegister + i)] = from[d + kRegister + i] * scale;
    }
}

// Horizontal sums of four registers -> out[0..3].
#if defined(OCTAVO_AVX512)
inline __m512 add_pairs(__m512 a, __m512 b) { return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); }
inline void store_sums(float* out, const Register (&a)[4]) {
  __m512d left = _mm512_castps_pd(add_pairs(a[0].v, a[1].v)), right = _mm512_castps_pd(add_pairs(a[2].v, a[3].v));
  __m512 parts = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(left, right)),
                               _mm512_castpd_ps(_mm512_unpackhi_pd(left, right)));
  __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(parts), _mm512_extractf32x8_ps(parts, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
}
#elif defined(__AVX2__)
inline void store_sums(float* out, const Register (&a)[4]) {
  __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(a[0].v, a[1].v), _mm256_hadd_ps(a[2].v, a[3].v));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}
#else
inline void store_sums(float* out, const Register (&a)[4]) {
  for (int i = 0; i < 4; ++i) out[i] = sum(a[i]);
}
#endif

}  // namespace octavo
