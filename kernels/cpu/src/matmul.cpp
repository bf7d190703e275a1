// Matrix products: blocks of rows and panels for the micro-kernels, and the choice among these.
#include "matmul.h"

#include <type_traits>

#include "exports.h"
#include "matmul_float.h"
#include "matmul_integer.h"
#include "tuning.h"

#if defined(OCTAVO_TILES)
#include "matmul_amx.h"
#endif

namespace octavo {

Tuning tuning;

namespace {

// Rows from which widening bf16 once, kWideInputs inputs at a time, costs less than in every product.
constexpr int kWideningRows = 4 * kMaxRows;
constexpr int kWideInputs = 256;

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

OCTAVO_EXPORT_SIZE(Tuning)
