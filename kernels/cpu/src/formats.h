// Storage formats of packed weights: one structure each, and the one place that chooses among them.
//
// A weight [n, k] is cut into panels of sixteen outputs, and these into blocks of 64 inputs. A block
// holds its codes, then the factors of each group of inputs in it, if there are groups: 16 scales and,
// where there are offsets, 16 of these, in float16: weight = scale * code + offset.
// Codes of 16 outputs, with k slowest and the inputs together that one instruction takes of an output:
//   float32  [k][16]        bf16  [k / 2][16][2]        8 bits  [k / 4][16][4]        float8  [k][16]
//   4 bits   [8][16][4] bytes, whose low halves are inputs 4j … 4j + 3 and whose high halves are 32
//            inputs further; from 0 to 15.
// The same bytes serve AVX2, AVX-512 and AMX. Both n and k are padded with zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "simd.h"

namespace octavo {

// Keep weight_format.py in step. A name's number is how many inputs share a scale.
enum Format : int32_t { kFloat32, kBFloat16, kInt8, kInt4By64, kInt4By32, kInt8By32, kInt8By16, kFloat8By64 };
constexpr int kFormats = 8;

constexpr int kGroup = 64;  // inputs in a block, and of an activation row that share a scale

// Activation formats (bit mask) that a weight's kernel reads.
enum RowFormat : int { kRowFloat = 1, kRowBF16 = 2, kRowQ8 = 4 };

// ISA has bf16 dot products.
#if defined(OCTAVO_BF16)
constexpr bool kBF16Products = true;
#else
constexpr bool kBF16Products = false;
#endif

// Codes of so many bits; Factors bytes for each output and block; whether outputs have scales besides.
template <Format Id, int Bits, int Factors, bool OutputScales>
struct Layout {
  static constexpr bool kOutputScales = OutputScales;
  static constexpr Format kFormat = Id;
  static constexpr int kBits = Bits;
  static constexpr int kCodeBytes = kGroup * kLanes * Bits / 8;
  static constexpr int kBlockBytes = kCodeBytes + kLanes * Factors;
};

struct Float32 : Layout<kFloat32, 32, 0, false> {
  static RowFormat rows(bool) { return kRowFloat; }
};
// bf16_activations: activations may be rounded to bf16.
struct BFloat16 : Layout<kBFloat16, 16, 0, false> {
  static RowFormat rows(bool bf16_activations) { return bf16_activations && kBF16Products ? kRowBF16 : kRowFloat; }
};
// Integers; no scales but the outputs'.
struct Int8 : Layout<kInt8, 8, 0, true> {
  static RowFormat rows(bool) { return kRowQ8; }
};
// Integers in groups of inputs. Factors are relative to the output's scale, as float16 has a narrow range.
template <Format Id, int Bits, int Inputs, bool Offsets>
struct Grouped : Layout<Id, Bits, kGroup / Inputs * 2 * (1 + Offsets), true> {
  static constexpr int kInputs = Inputs, kGroups = kGroup / Inputs;
  static constexpr bool kOffsets = Offsets;
  static constexpr int kFactorBytes = kLanes * 2 * (1 + Offsets);
  static RowFormat rows(bool) { return kRowQ8; }
};
using Int4By64 = Grouped<kInt4By64, 4, 64, true>;
using Int4By32 = Grouped<kInt4By32, 4, 32, true>;
using Int8By32 = Grouped<kInt8By32, 8, 32, true>;
using Int8By16 = Grouped<kInt8By16, 8, 16, false>;
// float8_e4m3fn without NaN; a factor is a scale in float32, times 256 (see load_float8).
struct Float8By64 : Layout<kFloat8By64, 8, 4, false> {
  static RowFormat rows(bool bf16_activations) { return BFloat16::rows(bf16_activations); }
};

// use(structure of the format).
template <class Use>
auto with_format(Format format, const Use& use) {
  switch (format) {
    case kFloat32: return use(Float32());
    case kBFloat16: return use(BFloat16());
    case kInt8: return use(Int8());
    case kInt4By64: return use(Int4By64());
    case kInt4By32: return use(Int4By32());
    case kInt8By32: return use(Int8By32());
    case kInt8By16: return use(Int8By16());
    case kFloat8By64: return use(Float8By64());
  }
  std::abort();
}

inline int round_up(int x, int to) { return (x + to - 1) / to * to; }

inline size_t panel_bytes(Format format, int padded_k) {
  return with_format(format, [&](auto f) { return size_t(padded_k) / kGroup * f.kBlockBytes; });
}

}  // namespace octavo
