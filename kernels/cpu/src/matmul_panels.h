// Products of all rows and panels by a micro-kernel, in blocks of both.
#pragma once

#include <type_traits>

#include "microkernel.h"
#include "tuning.h"

namespace octavo {
namespace {

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

}  // namespace
}  // namespace octavo
