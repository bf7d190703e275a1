// Vectors of sixteen floats, on the instructions that the compiler may use; see isa.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace octavo {

constexpr int kLanes = 16;

#if defined(__AVX2__)
// float8_e4m3fn -> float16 of the same bits: the sign goes from bit 7, and by its extension from 15, to
// 15 alone.
inline __m256i float8_halves(__m128i codes) {
  return _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7), _mm256_set1_epi16(int16_t(0xbfff)));
}
#endif

#if defined(OCTAVO_AVX512)

struct Vec {
  __m512 v;
};
inline Vec zero() { return {_mm512_setzero_ps()}; }
inline Vec splat(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, 0)}; }
inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float largest(Vec a) { return _mm512_reduce_max_ps(a.v); }
inline bool any_nan(Vec a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q) != 0; }
// 2^n for integral n.
inline Vec power_of_two(Vec n) {
  __m512i e = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
  return {_mm512_castsi512_ps(e)};
}
inline Vec load_bf16(const uint16_t* p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline Vec load_half(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
// Values of float8_e4m3fn / 256: such are the float16 that have their bits, subnormal ones too.
inline Vec load_float8(const uint8_t* p) {
  return {_mm512_cvtph_ps(float8_halves(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
#if defined(OCTAVO_BF16)
// As load_float8, thirty-two as bf16: those of the first sixteen and of the second in turn.
inline __m512bh load_float8_pairs(const uint8_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  __m128i first = _mm_loadu_si128(q), second = _mm_loadu_si128(q + 1);
  __m256i pairs = _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
  __m512i halves = _mm512_and_si512(_mm512_slli_epi16(_mm512_cvtepi8_epi16(pairs), 7), _mm512_set1_epi16(int16_t(0xbfff)));
  __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
  return _mm512_cvtne2ps_pbh(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)), low);
}
#endif
inline Vec load_int32(const int32_t* p) { return {_mm512_cvtepi32_ps(_mm512_loadu_si512(p))}; }
// First or second element of each of sixteen bf16 pairs, as in a packed panel.
inline Vec load_first(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
inline Vec load_second(const uint16_t* p) {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(int(0xffff0000u))))};
}
inline void store_int8(int8_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
// Round to nearest bf16, ties to even; inf and NaN are kept.
#if defined(OCTAVO_BF16)
inline void store_bf16(uint16_t* p, Vec a) {
  __m256bh rounded = _mm512_cvtneps_pbh(a.v);
  std::memcpy(p, &rounded, sizeof(rounded));
}
#else
inline void store_bf16(uint16_t* p, Vec a) {
  __m512i bits = _mm512_castps_si512(a.v);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}
#endif

#elif defined(__AVX2__)

struct Vec {
  __m256 lo, hi;
};
inline Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Vec splat(float x) {
  __m256 v = _mm256_set1_ps(x);
  return {v, v};
}
inline Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Vec a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline Vec fma(Vec a, Vec b, Vec c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline Vec abs(Vec a) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
inline Vec round(Vec a) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, nearest), _mm256_round_ps(a.hi, nearest)};
}
inline float sum(Vec a) {
  __m256 s = _mm256_add_ps(a.lo, a.hi);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
inline float largest(Vec a) {
  __m256 s = _mm256_max_ps(a.lo, a.hi);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
inline bool any_nan(Vec a) { return _mm256_movemask_ps(_mm256_cmp_ps(a.lo, a.hi, _CMP_UNORD_Q)) != 0; }
inline __m256 power_of_two(__m256 n) {
  __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
// 2^n for integral n.
inline Vec power_of_two(Vec n) { return {power_of_two(n.lo), power_of_two(n.hi)}; }
inline __m256 widen_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
inline Vec load_bf16(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {widen_bf16(_mm_loadu_si128(q)), widen_bf16(_mm_loadu_si128(q + 1))};
}
inline Vec load_half(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
// Values of float8_e4m3fn / 256: such are the float16 that have their bits, subnormal ones too.
inline Vec load_float8(const uint8_t* p) {
  __m256i halves = float8_halves(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}
inline Vec load_int32(const int32_t* p) {
  const __m256i* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_cvtepi32_ps(_mm256_loadu_si256(q)), _mm256_cvtepi32_ps(_mm256_loadu_si256(q + 1))};
}
// First or second element of each of sixteen bf16 pairs, as in a packed panel.
inline Vec load_first(const uint16_t* p) {
  const __m256i* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(q), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(q + 1), 16))};
}
inline Vec load_second(const uint16_t* p) {
  const __m256i* q = reinterpret_cast<const __m256i*>(p);
  __m256i high = _mm256_set1_epi32(int(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(q), high)),
          _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(q + 1), high))};
}
inline void store_int8(int8_t* p, Vec a) {
  __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  words = _mm256_permute4x64_epi64(words, 0xd8);
  __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
inline __m256i round_to_bf16(__m256 a) {
  __m256i bits = _mm256_castps_si256(a);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  __m256i kept = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, kept, nan), 16);
}
// Round to nearest bf16, ties to even; inf and NaN are kept.
inline void store_bf16(uint16_t* p, Vec a) {
  __m256i words = _mm256_packus_epi32(round_to_bf16(a.lo), round_to_bf16(a.hi));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(words, 0xd8));
}

#else  // other processors: plain loops, which compilers vectorise

struct Vec {
  float v[kLanes];
};
template <class F>
inline Vec each(F f) {
  Vec r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = f(i);
  return r;
}
inline float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline float half_to_float(uint16_t h) {
  uint32_t exponent = (h >> 10) & 31, mantissa = h & 1023;
  float value = exponent == 31 ? (mantissa ? NAN : INFINITY)
                : exponent     ? std::ldexp(float(1024 + mantissa), int(exponent) - 25)
                               : std::ldexp(float(mantissa), -24);
  return h & 0x8000 ? -value : value;
}
inline Vec zero() { return Vec{}; }
inline Vec splat(float x) {
  return each([&](int) { return x; });
}
inline Vec load(const float* p) {
  return each([&](int i) { return p[i]; });
}
inline void store(float* p, const Vec& a) {
  for (int i = 0; i < kLanes; ++i) p[i] = a.v[i];
}
inline Vec operator+(const Vec& a, const Vec& b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline Vec operator-(const Vec& a, const Vec& b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline Vec operator*(const Vec& a, const Vec& b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}
inline Vec operator/(const Vec& a, const Vec& b) {
  return each([&](int i) { return a.v[i] / b.v[i]; });
}
inline Vec fma(const Vec& a, const Vec& b, const Vec& c) {
  return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline Vec max(const Vec& a, const Vec& b) {
  return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec min(const Vec& a, const Vec& b) {
  return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec abs(const Vec& a) {
  return each([&](int i) { return std::fabs(a.v[i]); });
}
inline Vec round(const Vec& a) {
  return each([&](int i) { return std::nearbyint(a.v[i]); });
}
inline float sum(const Vec& a) {
  float s = 0;
  for (float x : a.v) s += x;
  return s;
}
inline float largest(const Vec& a) {
  float s = a.v[0];
  for (float x : a.v) s = x > s ? x : s;
  return s;
}
inline bool any_nan(const Vec& a) {
  bool any = false;
  for (float x : a.v) any |= std::isnan(x);
  return any;
}
// 2^n for integral n.
inline Vec power_of_two(const Vec& n) {
  return each([&](int i) { return from_bits(uint32_t(int(n.v[i]) + 127) << 23); });
}
inline Vec load_bf16(const uint16_t* p) {
  return each([&](int i) { return from_bits(uint32_t(p[i]) << 16); });
}
inline Vec load_half(const uint16_t* p) {
  return each([&](int i) { return half_to_float(p[i]); });
}
// Values of float8_e4m3fn / 256: such are the float16 that have their bits, subnormal ones too.
inline Vec load_float8(const uint8_t* p) {
  return each([&](int i) { return half_to_float(uint16_t((p[i] & 0x80) << 8 | (p[i] & 0x7f) << 7)); });
}
inline Vec load_int32(const int32_t* p) {
  return each([&](int i) { return float(p[i]); });
}
// First or second element of each of sixteen bf16 pairs, as in a packed panel.
inline Vec load_first(const uint16_t* p) {
  return each([&](int i) { return from_bits(uint32_t(p[2 * i]) << 16); });
}
inline Vec load_second(const uint16_t* p) {
  return each([&](int i) { return from_bits(uint32_t(p[2 * i + 1]) << 16); });
}
inline void store_int8(int8_t* p, const Vec& a) {
  for (int i = 0; i < kLanes; ++i) p[i] = int8_t(std::nearbyint(a.v[i]));
}

#endif

// First of the sixteen elements.
inline float first_lane(const Vec& a) {
  float x;
  std::memcpy(&x, &a, sizeof(x));
  return x;
}

// Prefetch of `bytes` from p on.
inline void prefetch(const void* p, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(p) + i);
  asm volatile("");  // GCC drops calls of a function that does nothing else
}

inline float to_float(uint16_t bf16) {
  uint32_t bits = uint32_t(bf16) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline float to_float(float x) { return x; }

// Round to nearest bf16, ties to even; NaN is kept.
inline uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (std::isnan(x)) return uint16_t((bits >> 16) | 0x40);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline void put(float* p, float x) { *p = x; }
inline void put(uint16_t* p, float x) { *p = to_bf16(x); }

inline Vec load(const uint16_t* p) { return load_bf16(p); }

#if !defined(OCTAVO_AVX512) && !defined(__AVX2__)
inline void store_bf16(uint16_t* p, const Vec& a) {
  for (int i = 0; i < kLanes; ++i) p[i] = to_bf16(a.v[i]);
}
#endif

inline void put_lanes(float* to, Vec a) { store(to, a); }
inline void put_lanes(uint16_t* to, Vec a) { store_bf16(to, a); }
inline void put_first(float* to, Vec a, int count) {
  float all[kLanes];
  store(all, a);
  std::memcpy(to, all, sizeof(float) * count);
}
template <class T>
void put_all(T* to, const T* from, size_t n) {
  std::memcpy(to, from, n * sizeof(T));
}
inline void put_all(float* to, const uint16_t* from, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load_bf16(from + i));
  for (; i < n; ++i) to[i] = to_float(from[i]);
}
inline void put_all(uint16_t* to, const float* from, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bf16(to + i, load(from + i));
  for (; i < n; ++i) to[i] = to_bf16(from[i]);
}

// e^x to about one ulp, with x clamped to -87.3 … 88.3.
inline Vec exp(Vec x) {
  x = min(splat(88.3f), max(splat(-87.3f), x));  // in this order NaN is kept
  Vec n = round(x * splat(1.44269504f));
  Vec r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r + splat(1.0f));
  return p * power_of_two(n);
}
// e^x to a relative 6e-5, for results that are rounded to bf16; at least 2^-126, and inf above 88.7: an
// infinite n makes r NaN, but _mm512_scalef_ps of NaN and inf is inf.
inline Vec exp_roughly(Vec x) {
#if defined(OCTAVO_AVX512)
  Vec y = max(splat(-126.0f), x * splat(1.44269504f)), n = round(y), r = y - n;
  Vec p = fma(splat(9.6181291e-3f), r, splat(5.5504109e-2f));
  p = fma(p, r, splat(2.4022651e-1f));
  p = fma(p, r, splat(6.9314718e-1f));
  return {_mm512_scalef_ps(fma(p, r, splat(1.0f)).v, n.v)};
#else
  return exp(x);
#endif
}
inline Vec tanh(Vec x) {
  Vec e = exp(x * splat(2.0f));
  return splat(1.0f) - splat(2.0f) / (e + splat(1.0f));
}
// x / (1 + e^-y).
inline Vec times_sigmoid(Vec x, Vec y) { return x / (splat(1.0f) + exp(zero() - y)); }
// x / (1 + e^-y) to a relative 2e-4, for results that are rounded to bf16; 0 where the sigmoid is
// denormal.
inline Vec times_sigmoid_roughly(Vec x, Vec y) {
#if defined(OCTAVO_AVX512)
  return x * Vec{_mm512_rcp14_ps((splat(1.0f) + exp_roughly(zero() - y)).v)};
#else
  return times_sigmoid(x, y);
#endif
}
// Error function within 1.5e-7 (Abramowitz and Stegun, 1964, 7.1.26).
inline Vec erf(Vec x) {
  Vec size = abs(x), t = splat(1.0f) / fma(splat(0.3275911f), size, splat(1.0f));
  Vec p = fma(splat(1.061405429f), t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  Vec result = splat(1.0f) - p * t * exp(zero() - size * size);
  return result * x / max(size, splat(1e-30f));
}
inline Vec gelu(Vec x) { return splat(0.5f) * x * (splat(1.0f) + erf(x * splat(0.7071067812f))); }

}  // namespace octavo
