// Packing of a linear layer's weights into panels; see weight.h.
#include "exports.h"
#include "weight.h"

namespace octavo {
namespace {

// Source matrix: rows of a weight as the model stores it; zero outside.
struct Source {
  const uint8_t* data;
  int32_t n, k;
  size_t row_bytes;

  template <class T>
  T at(int row, int column) const {
    if (row >= n || column >= k) return T(0);
    T x;
    std::memcpy(&x, data + row * row_bytes + size_t(column) * sizeof(T), sizeof(T));
    return x;
  }
};

// Codes of a block of a panel, Interleave of an output's together.
template <class T, int Interleave>
void pack_codes(const Source& source, int panel, int block, uint8_t* to) {
  T* out = reinterpret_cast<T*>(to);
  for (int k = block * kGroup; k < (block + 1) * kGroup; k += Interleave)
    for (int c = 0; c < kLanes; ++c)
      for (int i = 0; i < Interleave; ++i) *out++ = source.at<T>(panel * kLanes + c, k + i);
}

void pack_nibbles(const Source& source, int panel, int block, uint8_t* out) {
  for (int j = 0; j < kGroup / 2; j += 4)
    for (int c = 0; c < kLanes; ++c)
      for (int i = 0; i < 4; ++i) *out++ = source.at<uint8_t>(panel * kLanes + c, block * kGroup / 2 + j + i);
}

// Of one group and all outputs of a panel.
template <class T>
void pack_factors(const Source& source, int panel, int group, uint8_t* to) {
  T* out = reinterpret_cast<T*>(to);
  for (int c = 0; c < kLanes; ++c) *out++ = source.at<T>(panel * kLanes + c, group);
}

// Codes, and what follows them in a block. scale, offset: [n, groups].
struct Sources {
  Source codes, scale, offset;
};

void pack_block(Float32, const Sources& from, int panel, int block, uint8_t* out) {
  pack_codes<float, 1>(from.codes, panel, block, out);
}
void pack_block(BFloat16, const Sources& from, int panel, int block, uint8_t* out) {
  pack_codes<uint16_t, 2>(from.codes, panel, block, out);
}
void pack_block(Int8, const Sources& from, int panel, int block, uint8_t* out) {
  pack_codes<int8_t, 4>(from.codes, panel, block, out);
}
void pack_block(Float8By64, const Sources& from, int panel, int block, uint8_t* out) {
  pack_codes<uint8_t, 1>(from.codes, panel, block, out);
  pack_factors<float>(from.scale, panel, block, out + Float8By64::kCodeBytes);
}
template <class F>
void pack_block(F, const Sources& from, int panel, int block, uint8_t* out) {
  if constexpr (F::kBits == 4) pack_nibbles(from.codes, panel, block, out);
  else pack_codes<int8_t, 4>(from.codes, panel, block, out);
  for (int part = 0; part < F::kGroups; ++part) {
    uint8_t* factors = out + F::kCodeBytes + part * F::kFactorBytes;
    pack_factors<uint16_t>(from.scale, panel, block * F::kGroups + part, factors);
    if constexpr (F::kOffsets) pack_factors<uint16_t>(from.offset, panel, block * F::kGroups + part, factors + kLanes * 2);
  }
}

}  // namespace
}  // namespace octavo

using namespace octavo;

OCTAVO_EXPORT int64_t octavo_packed_bytes(int32_t format, int32_t n, int32_t k) {
  return int64_t(round_up(n, kLanes) / kLanes) * panel_bytes(Format(format), round_up(k, kGroup));
}

// data: [n, k] in the format's own element type; four bits as [n, padded k / 2] bytes, byte j of a block
// holding inputs j and 32 + j. scale, offset: [n, groups] in the type of the format's factors, or null.
// Panel p of the data becomes panel p * stride + first of `out`.
OCTAVO_EXPORT void octavo_pack(int32_t format, const void* data, const void* scale, const void* offset,
                            int32_t n, int32_t k, int32_t groups, int32_t stride, int32_t first, void* out) {
  int padded_k = round_up(k, kGroup);
  auto rows = [n](const void* from, int32_t width, size_t bytes) {
    return Source{static_cast<const uint8_t*>(from), n, width, bytes};
  };
  with_format(Format(format), [&](auto f) {
    bool nibbles = f.kBits == 4;
    int width = nibbles ? padded_k / 2 : k;
    size_t factor = f.kFormat == kFloat8By64 ? 4 : 2;
    Sources from{rows(data, width, nibbles ? width : size_t(k) * f.kBits / 8), rows(scale, groups, groups * factor),
                 rows(offset, groups, groups * factor)};
    size_t bytes = panel_bytes(f.kFormat, padded_k);
#pragma omp parallel for schedule(static)
    for (int panel = 0; panel < (n + kLanes - 1) / kLanes; ++panel) {
      uint8_t* to = static_cast<uint8_t*>(out) + (size_t(panel) * stride + first) * bytes;
      for (int block = 0; block < padded_k / kGroup; ++block) pack_block(f, from, panel, block, to + block * f.kBlockBytes);
    }
  });
}

OCTAVO_EXPORT_SIZE(Segment)
OCTAVO_EXPORT_SIZE(Weight)
