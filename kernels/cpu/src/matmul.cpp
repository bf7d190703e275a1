// Matrix products with weights of any format, and those with floats.
#include "matmul.h"

#include <algorithm>

#include "exports.h"
#include "matmul_float.h"
#include "matmul_float8.h"
#include "matmul_panels.h"

#if defined(OCTAVO_TILES)
#include "matmul_amx.h"
#endif

namespace octavo {

Tuning tuning;

namespace {

// Rows from which widening a panel once, kWideInputs inputs at a time, costs less than in every product.
constexpr int kWideningRows = 4 * kMaxRows;
constexpr int kWideInputs = 256;

// K-blocks of panels in another format: widen(panel, first input, inputs, to), then
// multiply(first input, panels, tiles) for as many of them as lie in `wide`.
template <class Element, class Widen, class Multiply>
void multiply_widened(int rows, const Panels& w, float* tiles, const Widen& widen, const Multiply& multiply) {
  alignas(64) Element wide[kBlockPanels][kWideInputs * kLanes];
  for (int k = 0; k < w.k; k += kWideInputs) {
    int inputs = std::min(kWideInputs, w.k - k);
    for (int panel = 0; panel < w.count; panel += kBlockPanels) {
      int count = std::min(kBlockPanels, w.count - panel);
      for (int p = 0; p < count; ++p) widen(w.data + (panel + p) * w.bytes, k, inputs, wide[p]);
      multiply(k, Panels{reinterpret_cast<const uint8_t*>(wide), sizeof(wide[0]), inputs, count},
               tiles + size_t(panel) * rows * kLanes);
    }
  }
}

inline void widen_bf16(const uint8_t* panel, int first, int inputs, float* wide) {
  const uint16_t* pairs = reinterpret_cast<const uint16_t*>(panel) + first * kLanes;
  for (int i = 0; i < inputs; i += 2) {
    store(wide + i * kLanes, load_first(pairs + i * kLanes));
    store(wide + (i + 1) * kLanes, load_second(pairs + i * kLanes));
  }
}

// Float rows by bf16 panels; for many rows the panels are widened first, a K-block at a time.
void multiply_float_by_bf16(const Rows& a, int rows, const Panels& w, float* tiles, bool fresh) {
  if (rows < kWideningRows) return multiply_panels<BFloat16Panel, kMaxRows>(a, rows, w, tiles, fresh);
  multiply_widened<float>(rows, w, tiles, widen_bf16, [&](int k, const Panels& wide, float* to) {
    multiply_panels<Float32Panel, kMaxRows>(a.from(0, k), rows, wide, to, fresh && k == 0);
  });
}

// Rows by float8 panels, in the format of Float8By64::rows.
void multiply_float8(const Rows& a, int rows, const Panels& w, float* tiles, bool bf16_rows) {
  auto widen = [](const uint8_t* panel, int first, int inputs, auto* wide) {
    widen_float8(panel + size_t(first) / kGroup * Float8By64::kBlockBytes, inputs, wide);
  };
  if (bf16_rows && rows >= kWideningRows)
    return multiply_widened<uint16_t>(rows, w, tiles, widen, [&](int k, const Panels& wide, float* to) {
      multiply_bf16(a.from(0, k), rows, wide, to, k == 0);
    });
#if defined(OCTAVO_BF16)
  if (bf16_rows) return multiply_panels<Float8DotPanel, kMaxRows>(a, rows, w, tiles);
#endif
  if (rows < kWideningRows) return multiply_panels<Float8Panel, kMaxRows>(a, rows, w, tiles);
  multiply_widened<float>(rows, w, tiles, widen, [&](int k, const Panels& wide, float* to) {
    multiply_panels<Float32Panel, kMaxRows>(a.from(0, k), rows, wide, to, k == 0);
  });
}

// tiles *= scale, of each output, with 16 of them a panel.
inline void scale_tiles(const float* scale, int rows, int panels, float* tiles) {
  for (int panel = 0; panel < panels; ++panel) {
    Vec factor = load(scale + panel * kLanes);
    float* tile = tiles + size_t(panel) * rows * kLanes;
    for (int r = 0; r < rows; ++r) store(tile + r * kLanes, load(tile + r * kLanes) * factor);
  }
}

// Products of one segment's panels, without output scales.
void multiply_format(Float32, const Rows& a, int rows, const Panels& w, bool, float* tiles) {
  multiply_panels<Float32Panel, kMaxRows>(a, rows, w, tiles);
}
void multiply_format(BFloat16, const Rows& a, int rows, const Panels& w, bool bf16_rows, float* tiles) {
  if (bf16_rows) multiply_bf16(a, rows, w, tiles, true);
  else multiply_float_by_bf16(a, rows, w, tiles, true);
}
void multiply_format(Int8, const Rows& a, int rows, const Panels& w, bool, float* tiles) {
  multiply_int8(a, rows, w, tiles);
}
void multiply_format(Float8By64, const Rows& a, int rows, const Panels& w, bool bf16_rows, float* tiles) {
  multiply_float8(a, rows, w, tiles, bf16_rows);
}
template <class F>
void multiply_format(F, const Rows& a, int rows, const Panels& w, bool, float* tiles) {
  multiply_grouped<F>(a, rows, w, tiles);
}

}  // namespace

void multiply(const Rows& a, int rows, const Weight& w, int first, int last, float* tiles) {
  w.each_segment(first, last, [&](const Segment& segment, int from, int to, int panel) {
    float* out = tiles + size_t(panel - first) * rows * kLanes;
    with_format(segment.format, [&](auto f) {
      size_t bytes = size_t(w.padded_k()) / kGroup * f.kBlockBytes;
      Panels panels{segment.data + from * bytes, bytes, w.padded_k(), to - from};
      multiply_format(f, a, rows, panels, f.rows(w.bf16_activations) == kRowBF16, out);
      if constexpr (f.kOutputScales) scale_tiles(w.scale + panel * kLanes, rows, to - from, out);
    });
  });
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
