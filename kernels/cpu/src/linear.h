// One linear layer, shared out among a team's threads.
#pragma once

#include <algorithm>

#include "matmul.h"
#include "rows.h"
#include "team.h"

namespace octavo {

constexpr int kRowBlock = 96;     // rows at a time: their inputs stay in the second-level cache
constexpr int kPanelsPerTask = 4;

// finish(row, rows, panel, panels, tiles) gets each block of outputs, [panels][rows][16], once. The
// number of panels is even, but for the last ones.
template <class Finish>
void run_linear(Team& team, const Rows& input, int rows, const Weight& w, Buffer<float>& tiles,
                const Finish& finish) {
  int blocks = (rows + kRowBlock - 1) / kRowBlock;
  int share = round_up(w.panels() / (team.size() * 6) + 1, 2);
  int panels = blocks > 1 ? kPanelsPerTask : std::min(share, rows > 8 ? kPanelsPerTask : share);
  int groups = (w.panels() + panels - 1) / panels;
  int block_rows = round_up((rows + blocks - 1) / blocks, kMaxRows);
  float* out = tiles.reserve(size_t(panels) * block_rows * kLanes);
  for (int64_t task = team.next(); task < int64_t(blocks) * groups; task = team.next()) {
    int row = int(task / groups) * block_rows, first = int(task % groups) * panels;
    int count = std::min(block_rows, rows - row), last = std::min(first + panels, w.panels());
    if (count <= 0) continue;
    multiply(input.from(row, 0), count, w, first, last, out);
    finish(row, count, first, last - first, out);
  }
}

// work(row) for rows shared out in the same way in every phase, so that each stays in one core's
// cache; then all threads meet.
template <class Work>
void each_row(Team& team, int thread, int rows, const Work& work) {
  int first = int(int64_t(rows) * thread / team.size()), last = int(int64_t(rows) * (thread + 1) / team.size());
  for (int row = first; row < last; ++row) work(row);
  team.barrier();
}

inline Vec bias_of(const Weight& w, int panel) {
  return w.bias ? load(w.bias + panel * kLanes) : zero();
}

// out[row][16 * panel …] = tile + bias; rows of `out` have room for whole panels.
template <class Element>
auto store_into(const Weight& w, Element* out, size_t stride) {
  return [&w, out, stride](int row, int rows, int panel, int panels, const float* tiles) {
    for (int p = 0; p < panels; ++p) {
      Vec bias = bias_of(w, panel + p);
      for (int r = 0; r < rows; ++r)
        put_lanes(out + (row + r) * stride + (panel + p) * kLanes,
                  load(tiles + (size_t(p) * rows + r) * kLanes) + bias);
    }
  };
}

inline auto add_into(const Weight& w, float* out, size_t stride) {
  return [&w, out, stride](int row, int rows, int panel, int panels, const float* tiles) {
    for (int p = 0; p < panels; ++p) {
      Vec bias = bias_of(w, panel + p);
      for (int r = 0; r < rows; ++r) {
        float* to = out + (row + r) * stride + (panel + p) * kLanes;
        store(to, load(to) + load(tiles + (size_t(p) * rows + r) * kLanes) + bias);
      }
    }
  };
}

}  // namespace octavo
