// Micro-kernels of the matrix products: tile[r][0..15] += rows[r] · panel, for a block of inputs.
#include "matmul.h"

#include <type_traits>

#include "exports.h"
#include "tuning.h"

#if defined(OCTAVO_TILES)
#include "matmul_amx.h"
#endif

namespace octavo {

Tuning tuning;

namespace {

// Integer accumulators take two registers on AVX2, so fewer rows fit.
constexpr int kMaxQ8Rows = kMaxRows == 6 ? 4 : kMaxRows;
// Micro-kernel width in panels, as many as there are registers for, and K-block: panels are re-read for
// each block of rows, from L2 with AVX-512, and from L1 with AVX2, which does fewer products per line.
#if defined(OCTAVO_AVX512)
constexpr int kBlockPanels = 2, kInputBlock = 2048;
#else
constexpr int kBlockPanels = 1, kInputBlock = 256;
#endif
// Software prefetch, unless the kernel has many rows and one panel: then it costs more than it hides.
template <int R>
constexpr bool kPrefetches = R <= kMaxRows / 2 || kBlockPanels > 1;
// Prefetch distance in bytes. With many rows out-of-order execution can't run ahead: prefetch further.
template <int R>
constexpr size_t kPrefetchBytes = R > kMaxRows / 2 ? 4096 : 1024;
// Rows from which widening bf16 once, kWideInputs inputs at a time, costs less than in every product.
constexpr int kWideningRows = 4 * kMaxRows;
constexpr int kWideInputs = 256;

// Prefetch offset: inside these P panels or, near their end, in the next P.
template <int R, int P>
inline size_t prefetch_offset(size_t at, size_t bytes) {
  return at + kPrefetchBytes<R> < bytes ? kPrefetchBytes<R> : kPrefetchBytes<R> + (P - 1) * bytes;
}
// Locality hint of a prefetch. GEMV streams weights once: non-temporal, they bypass the outer caches.
// Which is faster depends on the machine; see tuning.h.
enum Locality : int { kStreamed = 0, kCached = 3 };

template <Locality L>
inline void prefetch_ahead(const void* p, size_t ahead) {
  __builtin_prefetch(static_cast<const char*>(p) + ahead, 0, int(L));
}

// Accumulators in memory, [panels][rows][16], `stride` floats from panel to panel; fresh ones begin as
// zeros.
struct Tiles {
  float* data;
  size_t stride;
  bool fresh;

  template <int R>
  float* tile(int i) const {
    return data + i / R * stride + i % R * kLanes;
  }
  Tiles from(int row) const { return {data + row * kLanes, stride, fresh}; }
};

template <int R, int P>
inline void clear_tiles(const Tiles& tiles) {
  for (int i = 0; i < P * R; ++i) store(tiles.tile<R>(i), zero());
}

// Partial sums of a tile: few accumulators would be latency-bound, so use two or four each.
template <int N>
constexpr int kPartialSums = N == 1 ? 4 : N <= 3 ? 2 : 1;

// Partial sums begin as the tile and zeros; write_tiles adds them up.
template <int R, int S, int N>
inline void read_tiles(Vec (&acc)[S][N], const Tiles& tiles) {
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) acc[0][i] = tiles.fresh ? zero() : load(tiles.tile<R>(i));
  for (int s = 1; s < S; ++s)
    for (int i = 0; i < N; ++i) acc[s][i] = zero();
}

template <int R, int S, int N>
inline void write_tiles(const Tiles& tiles, Vec (&acc)[S][N]) {
  for (int s = 1; s < S; ++s)
    for (int i = 0; i < N; ++i) acc[0][i] = acc[0][i] + acc[s][i];
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) store(tiles.tile<R>(i), acc[0][i]);
}

// Kernels, one for each format, multiply R rows with P panels, `bytes` apart.

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

inline int32_t four_q8(const Rows& a, int row, int k) {
  int32_t four;
  std::memcpy(&four, a.q8 + row * a.q8_stride + k, 4);
  return four;
}

// Exact integer dot products of one group of 64 inputs, as floats: of q8 activations and weights, for
// every panel, row and output.
#if defined(OCTAVO_VNNI)
// Accumulator type: as __m512i, which GCC treats as a vector of int64, sums would be copied around each
// product.
typedef int32_t Integers __attribute__((vector_size(64)));

inline Integers add_products(Integers sums, __m512i unsigned_bytes, __m512i bytes) {
  return (Integers)_mm512_dpbusd_epi32((__m512i)sums, unsigned_bytes, bytes);
}
struct Int8Group {
  template <int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, Vec (&out)[P * R]) {
    Integers acc[P * R];
    // vpdpbusd needs u8: bias weights by 128 and subtract 128·Σx.
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) acc[i] = Integers{} - 128 * a.group(i % R, k)->sum;
#pragma GCC unroll 1
    for (int j = 0; j < kGroup / 4; ++j) {
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
struct Int4Group {
  template <int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, Vec (&out)[P * R]) {
    __m512i low = _mm512_set1_epi8(15);
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
        first[p] = _mm512_and_si512(both, low);
        second[p] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      }
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r) {
        __m512i x = _mm512_set1_epi32(four_q8(a, r, k + 4 * j));
        __m512i y = _mm512_set1_epi32(four_q8(a, r, k + 32 + 4 * j));
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          Integers& to = acc[p * R + r];
          to = add_products(add_products(to, first[p], x), second[p], y);
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
struct Int8Group {
  template <int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, Vec (&out)[P * R]) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i lo[P * R], hi[P * R];
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) lo[i] = hi[i] = _mm256_setzero_si256();
    for (int j = 0; j < kGroup / 4; ++j) {
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
struct Int4Group {
  template <int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t ahead, int k, Vec (&out)[P * R]) {
    const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
    __m256i total_lo[P * R], total_hi[P * R];
#pragma GCC unroll 32
    for (int i = 0; i < P * R; ++i) total_lo[i] = total_hi[i] = _mm256_setzero_si256();
    // Eight sums of two products of at most 15 * 127 fit in int16.
#pragma GCC unroll 1
    for (int half = 0; half < 2; ++half) {
      __m256i lo[P * R], hi[P * R];
#pragma GCC unroll 32
      for (int i = 0; i < P * R; ++i) lo[i] = hi[i] = _mm256_setzero_si256();
#pragma GCC unroll 1
      for (int j = 4 * half; j < 4 * half + 4; ++j) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const uint8_t* line = w + p * bytes + j * 64;
          if (kPrefetches<R>) prefetch_ahead<L>(line, ahead);
          __m256i b0 = load_bytes(line), b1 = load_bytes(line + 32);
          __m256i first0 = _mm256_and_si256(b0, low), first1 = _mm256_and_si256(b1, low);
          __m256i second0 = _mm256_and_si256(_mm256_srli_epi16(b0, 4), low);
          __m256i second1 = _mm256_and_si256(_mm256_srli_epi16(b1, 4), low);
#pragma GCC unroll 32
          for (int r = 0; r < R; ++r) {
            __m256i x = _mm256_set1_epi32(four_q8(a, r, k + 4 * j));
            __m256i y = _mm256_set1_epi32(four_q8(a, r, k + 32 + 4 * j));
            __m256i &l = lo[p * R + r], &h = hi[p * R + r];
            l = _mm256_add_epi16(l, _mm256_maddubs_epi16(first0, x));
            h = _mm256_add_epi16(h, _mm256_maddubs_epi16(first1, x));
            l = _mm256_add_epi16(l, _mm256_maddubs_epi16(second0, y));
            h = _mm256_add_epi16(h, _mm256_maddubs_epi16(second1, y));
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
template <class WeightAt>
inline Vec plain_sums(const Rows& a, int row, int k, WeightAt weight_at) {
  int32_t acc[kLanes] = {};
  for (int i = 0; i < kGroup; ++i)
    for (int c = 0; c < kLanes; ++c)
      acc[c] += int32_t(a.q8[row * a.q8_stride + k + i]) * weight_at(i, c);
  return load_int32(acc);
}
struct Int8Group {
  template <int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t, int k, Vec (&out)[P * R]) {
    for (int i = 0; i < P * R; ++i)
      out[i] = plain_sums(a, i % R, k, [&](int j, int c) {
        return int32_t(int8_t(w[i / R * bytes + (j / 4) * 64 + c * 4 + j % 4]));
      });
  }
};
struct Int4Group {
  template <int R, int P, Locality L>
  static void sums(const Rows& a, const uint8_t* w, size_t bytes, size_t, int k, Vec (&out)[P * R]) {
    for (int i = 0; i < P * R; ++i)
      out[i] = plain_sums(a, i % R, k, [&](int j, int c) {
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
      Int8Group::sums<R, P, L>(a, panel + k * kLanes, bytes, prefetch_offset<R, P>(k * kLanes, bytes), k, sums);
#pragma GCC unroll 32
      for (int i = 0; i < P * R; ++i) {
        Vec scale = splat(a.group(i % R, k)->scale);
        float* tile = tiles.tile<R>(i);
        store(tile, fma(sums[i], scale, load(tile)));
      }
    }
  }
};

struct Int4Panel {
  template <int R, int P, Locality L = kCached>
  static void multiply(const Rows& a, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
    if (tiles.fresh) clear_tiles<R, P>(tiles);
    for (int k = 0; k < inputs; k += kGroup) {
      int g = k / kGroup;
      const uint8_t* group = panel + g * kInt4GroupBytes;
      Vec sums[P * R];
      Int4Group::sums<R, P, L>(a, group, bytes, prefetch_offset<R, P>(g * kInt4GroupBytes, bytes), k, sums);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const uint16_t* factors = reinterpret_cast<const uint16_t*>(group + p * bytes + kGroup * kLanes / 2);
        Vec scale = load_half(factors), offset = load_half(factors + kLanes);
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r) {
          int i = p * R + r;
          Vec row_scale = splat(a.group(r, k)->scale), scaled_sum = splat(a.group(r, k)->scaled_sum);
          float* tile = tiles.tile<R>(i);
          store(tile, fma(sums[i] * row_scale, scale, fma(scaled_sum, offset, load(tile))));
        }
      }
    }
  }
};

inline Panels panels_of(const Weight& w, int first, int last) {
  size_t bytes = panel_bytes(Format(w.format), w.padded_k());
  return {static_cast<const uint8_t*>(w.data) + first * bytes, bytes, w.padded_k(), last - first};
}

// Remainder of rows, fewer than MaxRows.
template <class Panel, int R, int P>
inline void multiply_rest(const Rows& a, int rows, const uint8_t* panel, size_t bytes, int inputs,
                          const Tiles& tiles) {
  if constexpr (R > 0) {
    if (rows == R) return Panel::template multiply<R, P>(a, panel, bytes, inputs, tiles);
    multiply_rest<Panel, R - 1, P>(a, rows, panel, bytes, inputs, tiles);
  }
}

// Product of all rows with P panels.
template <class Panel, int MaxRows, int P>
void multiply_block(const Rows& a, int rows, const uint8_t* panel, size_t bytes, int inputs, const Tiles& tiles) {
  int row = 0;
  for (; row + MaxRows <= rows; row += MaxRows)
    Panel::template multiply<MaxRows, P>(a.from(row, 0), panel, bytes, inputs, tiles.from(row));
  multiply_rest<Panel, MaxRows - 1, P>(a.from(row, 0), rows - row, panel, bytes, inputs, tiles.from(row));
}

// GEMV: one row with P panels at once.
template <class Panel, int P, Locality L>
void multiply_row(const Rows& a, const Panels& w, float* tiles, bool fresh, int panel = 0) {
  for (; panel + P <= w.count; panel += P)
    Panel::template multiply<1, P, L>(a, w.data + panel * w.bytes, w.bytes, w.k,
                                      {tiles + panel * kLanes, kLanes, fresh});
  if constexpr (P > 1) multiply_row<Panel, P / 2, L>(a, w, tiles, fresh, panel);
}

// work(first panel, number of panels as a constant) for blocks of kBlockPanels, then single panels.
template <class Work>
void in_panel_blocks(int count, const Work& work) {
  int panel = 0;
  for (; panel + kBlockPanels <= count; panel += kBlockPanels)
    work(panel, std::integral_constant<int, kBlockPanels>());
  for (; panel < count; ++panel) work(panel, std::integral_constant<int, 1>());
}

// GEMM of all rows and panels. tiles: [panels][rows][16], written, or added to if they are not fresh.
template <class Panel, int MaxRows>
void multiply_panels(const Rows& a, int rows, const Panels& w, float* tiles, bool fresh = true) {
  if (rows == 1) {
    if (tuning.stream_weights) return multiply_row<Panel, kPanelsAtOnce, kStreamed>(a, w, tiles, fresh);
    return multiply_row<Panel, kPanelsAtOnce, kCached>(a, w, tiles, fresh);
  }
  size_t stride = size_t(rows) * kLanes;
  int k_block = rows <= MaxRows ? w.k : kInputBlock;
  for (int k = 0; k < w.k; k += k_block) {
    int inputs = k + k_block < w.k ? k_block : w.k - k;
    in_panel_blocks(w.count, [&](int panel, auto panels) {
      multiply_block<Panel, MaxRows, panels>(a.from(0, k), rows, w.data + panel * w.bytes + w.bytes / w.k * k,
                                             w.bytes, inputs, {tiles + panel * stride, stride, fresh && k == 0});
    });
  }
}

inline void widen(const uint16_t* pairs, int inputs, float* wide) {
  for (int i = 0; i < inputs; i += 2) {
    store(wide + i * kLanes, load_first(pairs + i * kLanes));
    store(wide + (i + 1) * kLanes, load_second(pairs + i * kLanes));
  }
}

// Float rows by bf16 panels; for many rows the panels are widened first, a K-block at a time.
void multiply_float_by_bf16(const Rows& a, int rows, const Panels& w, float* tiles, bool fresh) {
  if (rows < kWideningRows) return multiply_panels<BFloat16Panel, kMaxRows>(a, rows, w, tiles, fresh);
  alignas(64) float wide[kBlockPanels][kWideInputs * kLanes];
  size_t stride = size_t(rows) * kLanes;
  for (int k = 0; k < w.k; k += kWideInputs) {
    int inputs = k + kWideInputs < w.k ? kWideInputs : w.k - k;
    in_panel_blocks(w.count, [&](int panel, auto panels) {
      const uint8_t* data = w.data + panel * w.bytes;
      for (int p = 0; p < panels; ++p)
        widen(reinterpret_cast<const uint16_t*>(data + p * w.bytes) + k * kLanes, inputs, wide[p]);
      multiply_block<Float32Panel, kMaxRows, panels>(
          a.from(0, k), rows, reinterpret_cast<const uint8_t*>(wide), sizeof(wide[0]), inputs,
          {tiles + panel * stride, stride, fresh && k == 0});
    });
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
      if (row_format(w) == kRowBF16) return multiply_bf16(a, rows, panels, tiles, true);
      return multiply_float_by_bf16(a, rows, panels, tiles, true);
    case kInt8:
#if defined(OCTAVO_TILES)
      if (use_tiles(kInt8, rows)) multiply_tiles_int8(a, rows, panels, tiles);
      else
#endif
        multiply_panels<Int8Panel, kMaxQ8Rows>(a, rows, panels, tiles);
      return scale_tiles(w, rows, first, last, tiles);
    default:
#if defined(OCTAVO_TILES)
      if (use_tiles(kInt4, rows)) return multiply_tiles_int4(a, rows, panels, tiles);
#endif
      return multiply_panels<Int4Panel, kMaxQ8Rows>(a, rows, panels, tiles);
  }
}

void multiply_bf16([[maybe_unused]] const Rows& a, [[maybe_unused]] int rows,
                     [[maybe_unused]] const Panels& w, [[maybe_unused]] float* tiles,
                     [[maybe_unused]] bool fresh) {
#if defined(OCTAVO_TILES)
  if (use_tiles(kBFloat16, rows)) return multiply_tiles_bf16(a, rows, w, tiles, fresh);
#endif
#if defined(OCTAVO_BF16)
  multiply_panels<BFloat16DotPanel, kMaxRows>(a, rows, w, tiles, fresh);
#endif
}

void multiply_float(Format format, const Rows& a, int rows, const Panels& w, float* tiles, bool fresh) {
  if (format == kBFloat16) multiply_float_by_bf16(a, rows, w, tiles, fresh);
  else multiply_panels<Float32Panel, kMaxRows>(a, rows, w, tiles, fresh);
}

}  // namespace octavo

OCTAVO_EXPORT void octavo_tune(const octavo::Tuning* chosen) { octavo::tuning = *chosen; }
