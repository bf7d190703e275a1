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

// Interleave: consecutive inputs of one output, 1 float, 2 bf16 or 4 int8.
template <class T, int Interleave>
void pack_panel(const Source& source, int panel, int padded_k, T* out) {
  for (int k = 0; k < padded_k; k += Interleave)
    for (int c = 0; c < kLanes; ++c)
      for (int i = 0; i < Interleave; ++i) *out++ = source.at<T>(panel * kLanes + c, k + i);
}

void pack_int4(const Source& source, const Source& scale, const Source& offset, int panel, int padded_k,
               uint8_t* out) {
  for (int g = 0; g < padded_k / kGroup; ++g, out += kInt4GroupBytes) {
    for (int j = 0; j < 8; ++j)
      for (int c = 0; c < kLanes; ++c)
        for (int i = 0; i < 4; ++i)
          out[j * 64 + c * 4 + i] = source.at<uint8_t>(panel * kLanes + c, g * kGroup / 2 + 4 * j + i);
    uint16_t* factors = reinterpret_cast<uint16_t*>(out + kGroup * kLanes / 2);
    for (int c = 0; c < kLanes; ++c) {
      factors[c] = scale.at<uint16_t>(panel * kLanes + c, g);
      factors[kLanes + c] = offset.at<uint16_t>(panel * kLanes + c, g);
    }
  }
}

}  // namespace
}  // namespace octavo

using namespace octavo;

OCTAVO_EXPORT int64_t octavo_packed_bytes(int32_t format, int32_t n, int32_t k) {
  return int64_t(round_up(n, kLanes) / kLanes) * panel_bytes(Format(format), round_up(k, kGroup));
}

// data: [n, k] in the format's own element type; int4 as [n, k / 2] bytes, byte j of a group holding
// inputs j and 32 + j, with float16 scale and offset [n, groups]. Panel p of
// the data becomes panel p * stride + first of `out`.
OCTAVO_EXPORT void octavo_pack(int32_t format, const void* data, const void* scale, const void* offset,
                            int32_t n, int32_t k, int32_t stride, int32_t first, void* out) {
  int padded_k = round_up(k, kGroup), groups = padded_k / kGroup;
  size_t row_bytes = format == kFloat32 ? size_t(k) * 4 : format == kBFloat16 ? size_t(k) * 2 : format == kInt8 ? k : k / 2;
  auto rows = [](const void* from, int32_t count, int32_t width, size_t bytes) {
    return Source{static_cast<const uint8_t*>(from), count, width, bytes};
  };
  Source source = rows(data, n, format == kInt4 ? k / 2 : k, row_bytes);
  Source scales = rows(scale, n, groups, size_t(groups) * 2), offsets = rows(offset, n, groups, size_t(groups) * 2);
  size_t bytes = panel_bytes(Format(format), padded_k);
#pragma omp parallel for schedule(static)
  for (int panel = 0; panel < (n + kLanes - 1) / kLanes; ++panel) {
    uint8_t* to = static_cast<uint8_t*>(out) + (size_t(panel) * stride + first) * bytes;
    switch (format) {
      case kFloat32: pack_panel<float, 1>(source, panel, padded_k, reinterpret_cast<float*>(to)); break;
      case kBFloat16: pack_panel<uint16_t, 2>(source, panel, padded_k, reinterpret_cast<uint16_t*>(to)); break;
      case kInt8: pack_panel<int8_t, 4>(source, panel, padded_k, reinterpret_cast<int8_t*>(to)); break;
      default: pack_int4(source, scales, offsets, panel, padded_k, to);
    }
  }
}

OCTAVO_EXPORT_SIZE(Weight)
