// Parts that micro-kernels share: prefetching, and accumulators in registers and memory.
#pragma once

#include "matmul.h"

namespace octavo {
namespace {

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

}  // namespace
}  // namespace octavo
