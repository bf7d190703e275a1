// Matrix products by AMX: tiles of sixteen rows and sixteen outputs, 64 bytes of inputs at a time. A
// panel has the layout of the instructions' second operand; see weight.h.
#pragma once

#include "amx.h"
#include "matmul.h"
#include "tuning.h"

namespace octavo {

// Choice of tiles over dot products for this many rows and a weight of this format.
inline bool use_tiles(Format format, int rows) { return tuning.tiles(format, rows) && allow_tiles(); }

// Tile configuration, two by two: 0 … 3 accumulate, 4 and 5 hold rows, 6 and 7 panels.
struct TileShape {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  // `upper` and `lower` rows: 1 … 16 and 0 … 16. A tile without rows is given one and not used.
  // input_bytes: of a row's inputs in a product; 4 … 64.
  TileShape(int upper, int lower, int input_bytes) {
    for (int i = 0; i < 8; ++i) {
      row_bytes[i] = 64;
      rows[i] = 16;
    }
    row_bytes[4] = row_bytes[5] = uint16_t(input_bytes);
    rows[6] = rows[7] = uint8_t(input_bytes / 4);
    rows[0] = rows[1] = rows[4] = uint8_t(upper);
    rows[2] = rows[3] = rows[5] = uint8_t(lower > 0 ? lower : 1);
  }
};

// work(row, upper, lower) for blocks of up to 32 rows, with tiles of their size.
template <class Work>
void each_tile_rows(int rows, int input_bytes, const Work& work) {
  for (int row = 0; row < rows; row += 32) {
    int left = rows - row, upper = left < 16 ? left : 16;
    int lower = left <= 16 ? 0 : (left < 32 ? left - 16 : 16);
    TileShape shape(upper, lower, input_bytes);
    tile_configure(&shape);
    work(row, upper, lower);
  }
  tile_release();
}

template <int T>
inline void tile_begin(const float* sums, bool fresh) {
  if (fresh) tile_zero<T>();
  else tile_load<T>(sums, 64);
}

inline void multiply_tiles_bf16(const Rows& a, int rows, const Panels& w, float* tiles, bool fresh) {
  size_t stride = a.bf16_stride * 2;
  each_tile_rows(rows, 64, [&](int row, int, int lower) {
    const uint16_t* first = a.bf16 + row * a.bf16_stride;
    const uint16_t* second = first + 16 * a.bf16_stride;
    for (int panel = 0; panel < w.count; panel += 2) {
      bool pair = panel + 1 < w.count;
      const uint8_t* left = w.data + panel * w.bytes;
      float* out = tiles + (size_t(panel) * rows + row) * kLanes;
      float* next = out + size_t(rows) * kLanes;
      tile_begin<0>(out, fresh);
      if (pair) tile_begin<1>(next, fresh);
      if (lower) tile_begin<2>(out + 16 * kLanes, fresh);
      if (lower && pair) tile_begin<3>(next + 16 * kLanes, fresh);
      for (int k = 0; k < w.k; k += 32) {
        tile_load<4>(first + k, stride);
        tile_load<6>(left + k * 32, 64);
        tile_dot_bf16<0, 4, 6>();
        if (pair) {
          tile_load<7>(left + w.bytes + k * 32, 64);
          tile_dot_bf16<1, 4, 7>();
        }
        if (lower) {
          tile_load<5>(second + k, stride);
          tile_dot_bf16<2, 5, 6>();
          if (pair) tile_dot_bf16<3, 5, 7>();
        }
      }
      tile_store<0>(out, 64);
      if (pair) tile_store<1>(next, 64);
      if (lower) tile_store<2>(out + 16 * kLanes, 64);
      if (lower && pair) tile_store<3>(next + 16 * kLanes, 64);
    }
  });
}

// Dot products of one group's inputs, from k on, for up to 32 rows, then add(row in block, sums) for each.
template <bool Unsigned, class Add>
void multiply_group(const Rows& a, int row, int upper, int lower, int k, const uint8_t* codes, const Add& add) {
  alignas(64) int32_t sums[32 * kLanes];
  const int8_t* first = a.q8 + row * a.q8_stride + k;
  tile_load<6>(codes, 64);
  tile_zero<0>();
  tile_load<4>(first, a.q8_stride);
  tile_dot_int8<Unsigned, 0, 4, 6>();
  tile_store<0>(sums, 64);
  if (lower) {
    tile_zero<2>();
    tile_load<5>(first + 16 * a.q8_stride, a.q8_stride);
    tile_dot_int8<Unsigned, 2, 5, 6>();
    tile_store<2>(sums + 16 * kLanes, 64);
  }
  for (int r = 0; r < upper + lower; ++r) add(r, load_int32(sums + r * kLanes));
}

// Output scales are applied at the end, as for Int8Panel.
inline void multiply_tiles_int8(const Rows& a, int rows, const Panels& w, float* tiles) {
  each_tile_rows(rows, kGroup, [&](int row, int upper, int lower) {
    for (int panel = 0; panel < w.count; ++panel) {
      float* out = tiles + (size_t(panel) * rows + row) * kLanes;
      for (int k = 0; k < w.k; k += kGroup) {
        const RowGroup* groups = a.group(row, k);
        multiply_group<false>(a, row, upper, lower, k, w.data + panel * w.bytes + k * kLanes, [&](int r, Vec sums) {
          Vec before = k ? load(out + r * kLanes) : zero();
          store(out + r * kLanes, fma(sums, splat(groups[r].scale), before));
        });
      }
    }
  });
}

// Codes of a block as bytes; `space` has room for them.
template <class F>
inline const uint8_t* code_bytes(const uint8_t* block, uint8_t* space) {
  if constexpr (F::kBits == 8) return block;
  for (int i = 0; i < F::kCodeBytes; ++i) {
    space[i] = block[i] & 15;
    space[F::kCodeBytes + i] = block[i] >> 4;
  }
  return space;
}

template <class F>
void multiply_tiles_grouped(const Rows& a, int rows, const Panels& w, float* tiles) {
  alignas(64) uint8_t space[kGroup * kLanes];
  each_tile_rows(rows, F::kInputs, [&](int row, int upper, int lower) {
    for (int panel = 0; panel < w.count; ++panel) {
      float* out = tiles + (size_t(panel) * rows + row) * kLanes;
      for (int k = 0; k < w.k; k += kGroup) {
        const uint8_t* block = w.data + panel * w.bytes + k / kGroup * F::kBlockBytes;
        const uint8_t* codes = code_bytes<F>(block, space);
        const RowGroup* groups = a.group(row, k);
        for (int part = 0; part < F::kGroups; ++part) {
          const uint16_t* factors = reinterpret_cast<const uint16_t*>(block + F::kCodeBytes + part * F::kFactorBytes);
          Vec scale = load_half(factors), offset = zero();
          if constexpr (F::kOffsets) offset = load_half(factors + kLanes);
          int at = part * F::kInputs;
          multiply_group<F::kBits == 4>(a, row, upper, lower, k + at, codes + at * kLanes, [&](int r, Vec sums) {
            Vec before = k + part ? load(out + r * kLanes) : zero();
            if constexpr (F::kOffsets)
              before = fma(splat(groups[r].template scaled_sum_of<F::kInputs>(part)), offset, before);
            store(out + r * kLanes, fma(sums * splat(groups[r].scale), scale, before));
          });
        }
      }
    }
  });
}

}  // namespace octavo
