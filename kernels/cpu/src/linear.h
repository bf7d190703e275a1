// Linear layer, shared among a team's threads.
#pragma once

#include <algorithm>

#include "elementwise.h"
#include "matmul.h"
#include "rows.h"
#include "team.h"

namespace octavo {

// Rows per task: their inputs stay in L2, which is larger where AVX-512 is.
#if defined(OCTAVO_AVX512)
constexpr int kRowBlock = 192;
#else
constexpr int kRowBlock = 96;
#endif
constexpr int kPanelsPerTask = 4;
constexpr int kFewRows = 64;  // rows few enough that longer tasks' outputs fit L2
constexpr int kMaxPanels = 64;  // panels whose outputs are buffered before `finish`
constexpr size_t kFirstBytes = 4096;  // weights prefetched at a barrier, for the task after it

// Tasks of a layer: blocks of rows by groups of panels. Panels per group are even but in the last, so
// gate/up pairs stay together.
struct LinearTasks {
  int threads, blocks, groups, block_rows, first_panels, panels, all_panels;

  LinearTasks(int threads, int rows, const Weight& w) : threads(threads), all_panels(w.panels()) {
    blocks = (rows + kRowBlock - 1) / kRowBlock;
    block_rows = round_up((rows + blocks - 1) / blocks, kMaxRows);
    int share = round_up(all_panels / (threads * 6) + 1, 2);
    panels = rows > 1 && rows <= kFewRows ? share : std::min(share, kPanelsPerTask);
    // One row is bandwidth-bound: hand each thread one long contiguous run first, then balance the tail.
    int long_run = all_panels * 4 / (threads * 5) / kPanelsPerTask * kPanelsPerTask;
    first_panels = rows > 1 ? panels : std::max(long_run, panels);
    groups = threads + std::max(all_panels - threads * first_panels + panels - 1, 0) / panels;
  }
  int count() const { return blocks * groups; }
  int row(int task) const { return task / groups * block_rows; }
  int first_panel(int task) const { return start(task % groups); }
  int last_panel(int task) const { return start(task % groups + 1); }

 private:
  int start(int group) const {
    int panel = std::min(group, threads) * first_panels + std::max(group - threads, 0) * panels;
    return std::min(panel, all_panels);
  }
};

// Prefetch of the weights of a thread's first task, to be called before the barrier that the task waits
// at.
inline void prefetch_linear(Team& team, int thread, int rows, const Weight& w) {
  if (rows == 0) return;
  LinearTasks tasks(team.size(), rows, w);
  if (thread >= tasks.count()) return;
  int first = tasks.first_panel(thread);
  w.each_segment(first, first + kPanelsAtOnce, [&](const Segment& segment, int from, int to, int) {
    size_t bytes = panel_bytes(segment.format, w.padded_k());
    for (int p = from; p < to; ++p) prefetch(segment.data + p * bytes, std::min(bytes, kFirstBytes / kPanelsAtOnce));
  });
}

// finish(row, rows, panel, panels, tiles) gets each block of outputs, [panels][rows][16], once.
template <class Finish>
void run_linear(Team& team, int thread, const Rows& input, int rows, const Weight& w,
                Buffer<float>& tiles, const Finish& finish) {
  if (rows == 0) return;
  LinearTasks tasks(team.size(), rows, w);
  int max_panels = std::min(tasks.first_panels, kMaxPanels);
  float* out = tiles.reserve(size_t(max_panels) * tasks.block_rows * kLanes);
  share_tasks(team, thread, tasks.count(), [&](int64_t task) {
    int row = tasks.row(int(task)), count = std::min(tasks.block_rows, rows - row);
    if (count <= 0) return;
    int last = tasks.last_panel(int(task));
    for (int panel = tasks.first_panel(int(task)); panel < last; panel += max_panels) {
      int end = std::min(panel + max_panels, last);
      multiply(input.from(row, 0), count, w, panel, end, out);
      finish(row, count, panel, end - panel, out);
    }
  });
}

// work(row) for all rows, then a barrier. Threads get the same rows in every phase, so that each row
// stays in one core's cache.
template <class Work>
void each_row(Team& team, int thread, int rows, const Work& work) {
  int first = int(int64_t(rows) * thread / team.size()), last = int(int64_t(rows) * (thread + 1) / team.size());
  for (int row = first; row < last; ++row) work(row);
  team.barrier();
}

inline Vec bias_of(const Weight& w, int panel) {
  return w.bias ? load(w.bias + panel * kLanes) : zero();
}

// out[row][16 * panel …] = tile + bias; rows of `out` are padded to whole panels.
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

// out[row][16 * panel …] += (tile + bias) * scale, a factor for each output; 1 without `scale`.
inline auto add_into(const Weight& w, float* out, size_t stride, const float* scale = nullptr) {
  return [&w, out, stride, scale](int row, int rows, int panel, int panels, const float* tiles) {
    for (int p = 0; p < panels; ++p) {
      Vec bias = bias_of(w, panel + p), factor = scale ? load(scale + (panel + p) * kLanes) : splat(1.0f);
      for (int r = 0; r < rows; ++r) {
        float* to = out + (row + r) * stride + (panel + p) * kLanes;
        store(to, fma(load(tiles + (size_t(p) * rows + r) * kLanes) + bias, factor, load(to)));
      }
    }
  };
}

// out[row][16 * panel …] = activation(tile + bias).
inline auto activate_into(const Weight& w, const RowBuffer& out, int32_t activation) {
  return [&w, &out, activation](int row, int rows, int panel, int panels, const float* tiles) {
    for (int r = 0; r < rows; ++r)
      for (int p = 0; p < panels; ++p) {
        Vec x = load(tiles + (size_t(p) * rows + r) * kLanes) + bias_of(w, panel + p);
        out.put(row + r, (panel + p) * kLanes, activate(x, activation, out.is_bf16()));
      }
  };
}

// out[row][16 * panel / 2 …] = activation(gate) * up, of a weight with panels of gate and up in turn.
inline auto gate_into(const Weight& w, const RowBuffer& out, int32_t activation) {
  return [&w, &out, activation](int row, int rows, int panel, int panels, const float* tiles) {
    for (int r = 0; r < rows; ++r)
      for (int p = 0; p < panels; p += 2) {
        const float *gate = tiles + (size_t(p) * rows + r) * kLanes, *up = gate + size_t(rows) * kLanes;
        Vec g = activate(load(gate) + bias_of(w, panel + p), activation, out.is_bf16());
        out.put(row + r, (panel + p) / 2 * kLanes, g * (load(up) + bias_of(w, panel + p + 1)));
      }
  };
}

}  // namespace octavo
