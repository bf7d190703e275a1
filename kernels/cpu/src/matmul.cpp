// The kernels of the products: tile[r][0..15] += rows[r] · panel, for inputs k0 … k1.
#include "matmul.h"

#if defined(OCTAVO_TILES)
#include "matmul_amx.h"
#endif

namespace octavo {

namespace {

// Sums of whole numbers need more registers than AVX2 has for as many rows.
constexpr int kMaxStepRows = kMaxRows == 6 ? 4 : kMaxRows;
// Inputs at a time, so that a panel's part stays in the first-level cache for many rows.
constexpr int kInputBlock = 256;
constexpr int kPrefetchBytes = 2048;
// Rows from which widening bf16 once costs less than in every product.
constexpr int kWideningRows = 4 * kMaxRows;

inline void prefetch(const void* p) { __builtin_prefetch(static_cast<const char*>(p) + kPrefetchBytes); }

template <int R>
inline void read_tile(Vec (&acc)[R], const float* tile, bool first) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) acc[r] = first ? zero() : load(tile + r * kLanes);
}

template <int R>
inline void write_tile(float* tile, const Vec (&acc)[R]) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) store(tile + r * kLanes, acc[r]);
}

// Few rows would wait for each addition to end: they get two or four sums each.
template <int R>
constexpr int kSums = R == 1 ? 4 : R <= 3 ? 2 : 1;

struct Float32Panel {
  template <int R>
  static void multiply(const Rows& a, const uint8_t* panel, int inputs, float* tile,
                       bool first) {
    constexpr int S = kSums<R>;
    const float* w = reinterpret_cast<const float*>(panel);
    Vec acc[S][R];
    read_tile(acc[0], tile, first);
    for (int s = 1; s < S; ++s)
      for (int r = 0; r < R; ++r) acc[s][r] = zero();
    for (int k = 0; k < inputs; k += S) {
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        if (R <= kMaxRows / 2) prefetch(w + (k + s) * kLanes);
        Vec b = load(w + (k + s) * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[s][r] = fma(splat(a.values[r * a.stride + k + s]), b, acc[s][r]);
      }
    }
    for (int s = 1; s < S; ++s)
      for (int r = 0; r < R; ++r) acc[0][r] = acc[0][r] + acc[s][r];
    write_tile(tile, acc[0]);
  }
};

struct BFloat16Panel {
  template <int R>
  static void multiply(const Rows& a, const uint8_t* panel, int inputs, float* tile,
                       bool first) {
    constexpr int S = R <= 3 ? 2 : 1;
    const uint16_t* w = reinterpret_cast<const uint16_t*>(panel);
    Vec acc[S][R];
    read_tile(acc[0], tile, first);
    for (int s = 1; s < S; ++s)
      for (int r = 0; r < R; ++r) acc[s][r] = zero();
    for (int k = 0; k < inputs; k += 2) {
      if (R <= kMaxRows / 2) prefetch(w + k * kLanes);
      Vec first = load_first(w + k * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[0][r] = fma(splat(a.values[r * a.stride + k]), first, acc[0][r]);
      Vec second = load_second(w + k * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
        acc[S - 1][r] = fma(splat(a.values[r * a.stride + k + 1]), second, acc[S - 1][r]);
    }
    for (int s = 1; s < S; ++s)
      for (int r = 0; r < R; ++r) acc[0][r] = acc[0][r] + acc[s][r];
    write_tile(tile, acc[0]);
  }
};

#if defined(OCTAVO_BF16)
struct NarrowPanel {
  template <int R>
  static void multiply(const Rows& a, const uint8_t* panel, int inputs, float* tile,
                       bool first) {
    constexpr int S = kSums<R>;
    Vec acc[S][R];
    read_tile(acc[0], tile, first);
    for (int s = 1; s < S; ++s)
      for (int r = 0; r < R; ++r) acc[s][r] = zero();
    for (int k = 0; k < inputs; k += 2 * S) {
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        const uint8_t* line = panel + (k + 2 * s) * kLanes * 2;
        if (R <= kMaxRows / 2) prefetch(line);
        __m512bh b = (__m512bh)_mm512_loadu_si512(line);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          int32_t pair;
          std::memcpy(&pair, a.narrow + r * a.narrow_stride + k + 2 * s, 4);
          acc[s][r].v = _mm512_dpbf16_ps(acc[s][r].v, b, (__m512bh)_mm512_set1_epi32(pair));
        }
      }
    }
    for (int s = 1; s < S; ++s)
      for (int r = 0; r < R; ++r) acc[0][r] = acc[0][r] + acc[s][r];
    write_tile(tile, acc[0]);
  }
};
#endif

inline int32_t four_steps(const Rows& a, int row, int k) {
  int32_t four;
  std::memcpy(&four, a.steps + row * a.steps_stride + k, 4);
  return four;
}

// Exact sums of one group of 64 inputs, as floats: of steps * q for every row and output.
#if defined(OCTAVO_VNNI)
struct Int8Group {
  template <int R>
  static void sums(const Rows& a, const uint8_t* w, int k, Vec (&out)[R]) {
    __m512i acc[R];
    // The instruction wants one side unsigned: 128 more, taken back by the rows' sums.
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) acc[r] = _mm512_set1_epi32(-128 * a.sums[r * a.groups + k / kGroup]);
    for (int j = 0; j < kGroup / 4; ++j) {
      if (R <= kMaxStepRows / 2) prefetch(w + j * 64);
      __m512i b = _mm512_xor_si512(_mm512_loadu_si512(w + j * 64), _mm512_set1_epi8(int8_t(0x80)));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
        acc[r] = _mm512_dpbusd_epi32(acc[r], b, _mm512_set1_epi32(four_steps(a, r, k + 4 * j)));
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) out[r].v = _mm512_cvtepi32_ps(acc[r]);
  }
};
struct Int4Group {
  template <int R>
  static void sums(const Rows& a, const uint8_t* w, int k, Vec (&out)[R]) {
    __m512i acc[R], low = _mm512_set1_epi8(15);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_si512();
    for (int j = 0; j < kGroup / 8; ++j) {
      if (R <= kMaxStepRows / 2) prefetch(w + j * 64);
      __m512i both = _mm512_loadu_si512(w + j * 64);
      __m512i first = _mm512_and_si512(both, low);
      __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        acc[r] = _mm512_dpbusd_epi32(acc[r], first, _mm512_set1_epi32(four_steps(a, r, k + 4 * j)));
        acc[r] = _mm512_dpbusd_epi32(acc[r], second,
                                     _mm512_set1_epi32(four_steps(a, r, k + 32 + 4 * j)));
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) out[r].v = _mm512_cvtepi32_ps(acc[r]);
  }
};
#elif defined(__AVX2__)
inline Vec to_vec(__m256i lo, __m256i hi) { return {_mm256_cvtepi32_ps(lo), _mm256_cvtepi32_ps(hi)}; }
inline __m256i load_bytes(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
struct Int8Group {
  template <int R>
  static void sums(const Rows& a, const uint8_t* w, int k, Vec (&out)[R]) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i lo[R], hi[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) lo[r] = hi[r] = _mm256_setzero_si256();
    for (int j = 0; j < kGroup / 4; ++j) {
      if (R <= kMaxStepRows / 2) prefetch(w + j * 64);
      __m256i b0 = load_bytes(w + j * 64), b1 = load_bytes(w + j * 64 + 32);
      // The instruction wants one side unsigned: the sign moves to the other. Two products of at
      // most 127 * 127 fit in sixteen bits.
      __m256i u0 = _mm256_abs_epi8(b0), u1 = _mm256_abs_epi8(b1);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        __m256i x = _mm256_set1_epi32(four_steps(a, r, k + 4 * j));
        __m256i p0 = _mm256_maddubs_epi16(u0, _mm256_sign_epi8(x, b0));
        __m256i p1 = _mm256_maddubs_epi16(u1, _mm256_sign_epi8(x, b1));
        lo[r] = _mm256_add_epi32(lo[r], _mm256_madd_epi16(p0, ones));
        hi[r] = _mm256_add_epi32(hi[r], _mm256_madd_epi16(p1, ones));
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) out[r] = to_vec(lo[r], hi[r]);
  }
};
struct Int4Group {
  template <int R>
  static void sums(const Rows& a, const uint8_t* w, int k, Vec (&out)[R]) {
    const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
    __m256i total_lo[R], total_hi[R];
    // Eight sums of two products of at most 15 * 127 fit in sixteen bits.
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i lo[R], hi[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) lo[r] = hi[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        int j = 4 * half + i;
        if (R <= kMaxStepRows / 2) prefetch(w + j * 64);
        __m256i b0 = load_bytes(w + j * 64), b1 = load_bytes(w + j * 64 + 32);
        __m256i first0 = _mm256_and_si256(b0, low), first1 = _mm256_and_si256(b1, low);
        __m256i second0 = _mm256_and_si256(_mm256_srli_epi16(b0, 4), low);
        __m256i second1 = _mm256_and_si256(_mm256_srli_epi16(b1, 4), low);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          __m256i x = _mm256_set1_epi32(four_steps(a, r, k + 4 * j));
          __m256i y = _mm256_set1_epi32(four_steps(a, r, k + 32 + 4 * j));
          lo[r] = _mm256_add_epi16(lo[r], _mm256_maddubs_epi16(first0, x));
          hi[r] = _mm256_add_epi16(hi[r], _mm256_maddubs_epi16(first1, x));
          lo[r] = _mm256_add_epi16(lo[r], _mm256_maddubs_epi16(second0, y));
          hi[r] = _mm256_add_epi16(hi[r], _mm256_maddubs_epi16(second1, y));
        }
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        __m256i l = _mm256_madd_epi16(lo[r], ones), h = _mm256_madd_epi16(hi[r], ones);
        total_lo[r] = half ? _mm256_add_epi32(total_lo[r], l) : l;
        total_hi[r] = half ? _mm256_add_epi32(total_hi[r], h) : h;
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) out[r] = to_vec(total_lo[r], total_hi[r]);
  }
};
#else
template <class Step>
inline Vec plain_sums(const Rows& a, int row, int k, Step weight_at) {
  int32_t acc[kLanes] = {};
  for (int i = 0; i < kGroup; ++i)
    for (int c = 0; c < kLanes; ++c)
      acc[c] += int32_t(a.steps[row * a.steps_stride + k + i]) * weight_at(i, c);
  return load_int32(acc);
}
struct Int8Group {
  template <int R>
  static void sums(const Rows& a, const uint8_t* w, int k, Vec (&out)[R]) {
    for (int r = 0; r < R; ++r)
      out[r] = plain_sums(a, r, k, [&](int i, int c) {
        return int32_t(int8_t(w[(i / 4) * 64 + c * 4 + i % 4]));
      });
  }
};
struct Int4Group {
  template <int R>
  static void sums(const Rows& a, const uint8_t* w, int k, Vec (&out)[R]) {
    for (int r = 0; r < R; ++r)
      out[r] = plain_sums(a, r, k, [&](int i, int c) {
        uint8_t both = w[(i % 32 / 4) * 64 + c * 4 + i % 4];
        return int32_t(i < 32 ? both & 15 : both >> 4);
      });
  }
};
#endif

// The outputs' scales are applied at the end, by scale_tile.
struct Int8Panel {
  template <int R>
  static void multiply(const Rows& a, const uint8_t* panel, int inputs, float* tile,
                       bool first) {
    Vec acc[R], sums[R];
    read_tile(acc, tile, first);
    for (int k = 0; k < inputs; k += kGroup) {
      Int8Group::sums<R>(a, panel + k * kLanes, k, sums);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r] = fma(sums[r], splat(a.scales[r * a.groups + k / kGroup]), acc[r]);
    }
    write_tile(tile, acc);
  }
};

struct Int4Panel {
  template <int R>
  static void multiply(const Rows& a, const uint8_t* panel, int inputs, float* tile,
                       bool first) {
    Vec acc[R], sums[R];
    read_tile(acc, tile, first);
    for (int k = 0; k < inputs; k += kGroup) {
      int g = k / kGroup;
      const uint8_t* group = panel + g * kInt4GroupBytes;
      Int4Group::sums<R>(a, group, k, sums);
      const uint16_t* factors = reinterpret_cast<const uint16_t*>(group + kGroup * kLanes / 2);
      Vec scale = load_half(factors), offset = load_half(factors + kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float step = a.scales[r * a.groups + g];
        Vec whole = splat(step * float(a.sums[r * a.groups + g]));
        acc[r] = fma(sums[r] * splat(step), scale, fma(whole, offset, acc[r]));
      }
    }
    write_tile(tile, acc);
  }
};

template <class Panel, int R>
inline void multiply_rest(const Rows& a, int rows, const uint8_t* panel, int inputs, float* tile,
                          bool first) {
  if constexpr (R > 0) {
    if (rows == R) return Panel::template multiply<R>(a, panel, inputs, tile, first);
    multiply_rest<Panel, R - 1>(a, rows, panel, inputs, tile, first);
  }
}

inline Panels panels_of(const Weight& w, int first, int last) {
  size_t bytes = panel_bytes(Format(w.format), w.padded_k());
  return {static_cast<const uint8_t*>(w.data) + first * bytes, bytes, w.padded_k(), last - first};
}

template <class Panel, int MaxRows>
void multiply_panel(const Rows& a, int rows, const uint8_t* panel, int inputs, float* tile, bool first) {
  int row = 0;
  for (; row + MaxRows <= rows; row += MaxRows)
    Panel::template multiply<MaxRows>(a.from(row, 0), panel, inputs, tile + row * kLanes, first);
  multiply_rest<Panel, MaxRows - 1>(a.from(row, 0), rows - row, panel, inputs, tile + row * kLanes, first);
}

// tiles: [panels][rows][16], written, or added to if they are not fresh.
template <class Panel, int MaxRows>
void multiply_panels(const Rows& a, int rows, const Panels& w, float* tiles, bool fresh = true) {
  int step = rows <= MaxRows ? w.k : kInputBlock;
  for (int k = 0; k < w.k; k += step) {
    int inputs = k + step < w.k ? step : w.k - k;
    for (int panel = 0; panel < w.count; ++panel) {
      const uint8_t* data = w.data + panel * w.bytes + w.bytes / w.k * k;
      float* tile = tiles + size_t(panel) * rows * kLanes;
      multiply_panel<Panel, MaxRows>(a.from(0, k), rows, data, inputs, tile, fresh && k == 0);
    }
  }
}

// As above; for many rows the panel is widened first, a part at a time.
void multiply_bf16(const Rows& a, int rows, const Panels& w, float* tiles, bool fresh) {
  if (rows < kWideningRows) return multiply_panels<BFloat16Panel, kMaxRows>(a, rows, w, tiles, fresh);
  alignas(64) float wide[kInputBlock * kLanes];
  for (int k = 0; k < w.k; k += kInputBlock) {
    int inputs = k + kInputBlock < w.k ? kInputBlock : w.k - k;
    for (int panel = 0; panel < w.count; ++panel) {
      const uint16_t* data = reinterpret_cast<const uint16_t*>(w.data + panel * w.bytes) + k * kLanes;
      for (int i = 0; i < inputs; i += 2) {
        store(wide + i * kLanes, load_first(data + i * kLanes));
        store(wide + (i + 1) * kLanes, load_second(data + i * kLanes));
      }
      multiply_panel<Float32Panel, kMaxRows>(a.from(0, k), rows, reinterpret_cast<const uint8_t*>(wide),
                                             inputs, tiles + size_t(panel) * rows * kLanes,
                                             fresh && k == 0);
    }
  }
}

inline void scale_tiles(const Weight& w, int rows, int first, int last, float* tiles) {
  for (int panel = first; panel < last; ++panel) {
    Vec scale = load(w.scale + panel * kLanes);
    float* tile = tiles + size_t(panel - first) * rows * kLanes;
    for (int r = 0; r < rows; ++r) store(tile + r * kLanes, load(tile + r * kLanes) * scale);
  }
}

}  // namespace

void multiply(const Rows& a, int rows, const Weight& w, int first, int last, float* tiles) {
  Panels panels = panels_of(w, first, last);
  switch (w.format) {
    case kFloat32:
      return multiply_panels<Float32Panel, kMaxRows>(a, rows, panels, tiles);
    case kBFloat16:
      if (row_kind(w) == kRowNarrow) return multiply_narrow(a, rows, panels, tiles, true);
      return multiply_bf16(a, rows, panels, tiles, true);
    case kInt8:
#if defined(OCTAVO_TILES)
      if (use_tiles(rows)) multiply_tiles_int8(a, rows, panels, tiles);
      else
#endif
        multiply_panels<Int8Panel, kMaxStepRows>(a, rows, panels, tiles);
      return scale_tiles(w, rows, first, last, tiles);
    default:
#if defined(OCTAVO_TILES)
      if (use_tiles(rows)) return multiply_tiles_int4(a, rows, panels, tiles);
#endif
      return multiply_panels<Int4Panel, kMaxStepRows>(a, rows, panels, tiles);
  }
}

void multiply_narrow([[maybe_unused]] const Rows& a, [[maybe_unused]] int rows,
                     [[maybe_unused]] const Panels& w, [[maybe_unused]] float* tiles,
                     [[maybe_unused]] bool fresh) {
#if defined(OCTAVO_TILES)
  if (use_tiles(rows)) return multiply_tiles_bf16(a, rows, w, tiles, fresh);
#endif
#if defined(OCTAVO_BF16)
  multiply_panels<NarrowPanel, kMaxRows>(a, rows, w, tiles, fresh);
#endif
}

void multiply_float(Format format, const Rows& a, int rows, const Panels& w, float* tiles, bool fresh) {
  if (format == kBFloat16) multiply_bf16(a, rows, w, tiles, fresh);
  else multiply_panels<Float32Panel, kMaxRows>(a, rows, w, tiles, fresh);
}

}  // namespace octavo
