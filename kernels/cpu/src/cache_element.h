// Elements of the paged cache: float, uint16_t (bf16), or codes of eight bits with a scale for each head of a
// position; see kernels/kv_format.py. A code is read as a float that is `kCodeUnit` times too small.
#pragma once

#include "rows.h"

namespace octavo {

// Passed from Python; keep metadata.py in step.
enum CacheType : int32_t { kCacheFloat32 = 0, kCacheBFloat16 = 1, kCacheInt8 = 2, kCacheFloat8 = 3 };

struct CacheInt8 {
  int8_t code;
};
struct CacheFloat8 {  // e4m3 without infinities (Micikevicius et al., 2022, arXiv:2209.05433)
  uint8_t code;
};

template <class Element>
constexpr bool kScaled = sizeof(Element) == 1;
template <class Element>
constexpr float kCodeUnit = 1.0f;
// Bits of CacheFloat8 in those of a half have an exponent that is eight less.
template <>
inline constexpr float kCodeUnit<CacheFloat8> = 256.0f;
template <class Element>
constexpr float kLargestCode = 127.0f;
template <>
inline constexpr float kLargestCode<CacheFloat8> = 448.0f;

// Elements from a head to the next one.
template <class Element>
size_t head_width(int dim) {
  return kScaled<Element> ? round_up(dim, 4) + sizeof(float) : dim;
}

// Factor of a head's codes as they are read.
template <class Element>
float scale_of(const Element* head, int dim) {
  float scale;
  std::memcpy(&scale, head + round_up(dim, 4), sizeof(scale));
  return scale * kCodeUnit<Element>;
}

// Value of each CacheFloat8, in kCodeUnit.
struct Float8Values {
  float of[256];
  constexpr Float8Values() : of() {
    for (int code = 0; code < 128; ++code) {
      int exponent = code >> 3;
      float value = float(exponent ? 8 + (code & 7) : code & 7) / float(1 << 17);
      for (int i = 1; i < exponent; ++i) value *= 2;
      of[code] = value;
      of[code + 128] = -value;
    }
  }
};
inline constexpr Float8Values kFloat8Values;

inline float to_float(CacheInt8 x) { return float(x.code); }
inline float to_float(CacheFloat8 x) { return kFloat8Values.of[x.code]; }

#if defined(__AVX2__)
inline __m128i load_codes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
#endif

#if defined(OCTAVO_AVX512)
inline Vec load(const CacheInt8* p) { return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_codes(p)))}; }
#elif defined(__AVX2__)
inline Vec load(const CacheInt8* p) {
  __m128i codes = load_codes(p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)))};
}
#else
inline Vec load(const CacheInt8* p) {
  return each([&](int i) { return to_float(p[i]); });
}
#endif
inline Vec load(const CacheFloat8* p) { return load_float8(&p->code); }

// Codes as bf16, which holds them exactly.
template <class Element>
void widen_codes(uint16_t* to, const Element* from, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bf16(to + i, load(from + i));
  for (; i < n; ++i) to[i] = to_bf16(to_float(from[i]));
}

// Nearest code, ties to even; x is at most the largest one.
inline CacheInt8 to_code(float x, CacheInt8) { return {int8_t(std::nearbyint(x))}; }
inline CacheFloat8 to_code(float x, CacheFloat8) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  uint32_t sign = bits >> 31 << 7, size = bits & 0x7fffffff;
  constexpr uint32_t kLeastNormal = 121u << 23;  // 2^-6
  uint32_t code = size < kLeastNormal ? uint32_t(std::nearbyint(std::fabs(x) * 512.0f))
                                      : ((size + 0x7ffff + (size >> 20 & 1)) >> 20) - (120 << 3);
  return {uint8_t(sign | code)};
}

// Quantise a head: codes, zeros up to a multiple of four, scale; see kernels/reference/kv_cache.py.
template <class Element>
void write_head(Element* to, const float* from, int dim) {
  Vec tops = zero(), products = zero();
  int full = dim / kLanes * kLanes;
  for (int d = 0; d < full; d += kLanes) {
    Vec values = load(from + d);
    tops = max(tops, abs(values));
    products = fma(values, zero(), products);
  }
  float top = largest(tops), odd = sum(products);  // odd: NaN if a value isn't finite, or 0
  for (int d = full; d < dim; ++d) {
    top = std::fabs(from[d]) > top ? std::fabs(from[d]) : top;
    odd += from[d] * 0.0f;
  }
  bool finite = odd == 0;
  float factor = finite && top > 1e-30f ? kLargestCode<Element> / top : 0.0f;
  float scale = finite ? top / kLargestCode<Element> : odd;
  int padded = round_up(dim, 4);
  for (int d = 0; d < dim; ++d) to[d] = to_code(finite ? from[d] * factor : 0.0f, Element());
  std::memset(static_cast<void*>(to + dim), 0, padded - dim);
  std::memcpy(static_cast<void*>(to + padded), &scale, sizeof(scale));
}

// Store the heads of one position.
template <class Element>
void write_heads(Element* to, const float* from, int heads, int dim) {
  if constexpr (kScaled<Element>) {
    for (int h = 0; h < heads; ++h) write_head(to + h * head_width<Element>(dim), from + size_t(h) * dim, dim);
  } else {
    put_all(to, from, size_t(heads) * dim);
  }
}

// work(null pointer to the cache's elements).
template <class Work>
void with_cache_type(int32_t type, const Work& work) {
  switch (CacheType(type)) {
    case kCacheFloat32: return work(static_cast<float*>(nullptr));
    case kCacheBFloat16: return work(static_cast<uint16_t*>(nullptr));
    case kCacheInt8: return work(static_cast<CacheInt8*>(nullptr));
    case kCacheFloat8: return work(static_cast<CacheFloat8*>(nullptr));
  }
  std::abort();
}

}  // namespace octavo
