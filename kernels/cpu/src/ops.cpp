// Single operations, for layers that no prepared decoder or encoder runs.
#include "attention.h"
#include "batch_check.h"
#include "elementwise.h"
#include "exports.h"
#include "linear.h"

using namespace octavo;

namespace {

template <class T, class Out>
void linear(const Weight& w, const T* x, int64_t x_stride, int rows, Out* out, int threads) {
  RowBuffer input;
  input.reserve(rows, w.k, row_format(w));
  run_team(threads, [&](Team& team, int thread) {
    for (int row = thread; row < rows; row += team.size()) {
      input.fill(row, [&](auto* to) { put_all(to, x + row * x_stride, w.k); });
    }
    team.barrier();
    Buffer<float> tiles;
    run_linear(team, thread, input.rows(), rows, w, tiles,
               [&](int row, int count, int panel, int panels, const float* from) {
                 for (int p = 0; p < panels; ++p) {
                   int column = (panel + p) * kLanes, width = std::min(kLanes, w.n - column);
                   for (int r = 0; r < count; ++r) {
                     Vec sums = load(from + (size_t(p) * count + r) * kLanes) + bias_of(w, panel + p);
                     Out* to = out + size_t(row + r) * w.n + column;
                     if (width == kLanes) {
                       put_lanes(to, sums);
                     } else {
                       float line[kLanes];
                       store(line, sums);
                       put_all(to, line, width);
                     }
                   }
                 }
               });
  });
}

template <class T, class Element>
void attention(const Batch& batch, const AttentionShape& shape, const T* query, const Element* keys,
               const Element* values, T* out, int threads) {
  AttentionPlan plan;
  plan.build(batch, shape, threads);
  int width = shape.heads * shape.head_dim;
  Buffer<float> queries, parts;
  RowBuffer outputs;
  queries.reserve(size_t(batch.num_tokens) * width);
  outputs.reserve(batch.num_tokens, width, kRowFloat);
  parts.reserve(size_t(plan.parts) * shape.group() * (shape.head_dim + 2));
  put_all(queries.data(), query, size_t(batch.num_tokens) * width);
  run_team(threads, [&](Team& team, int thread) {
    AttentionScratch scratch;
    run_attention<Element, float>(team, thread, plan, batch, shape, scratch, queries.data(), width, keys, values,
                                  outputs, parts.data());
  });
  for (int row = 0; row < batch.num_tokens; ++row) put_all(out + size_t(row) * width, outputs.row(row), width);
}

// work(row, scratch) for each row; scratch holds `width` floats.
template <class Work>
void on_rows(int64_t rows, int width, int threads, const Work& work) {
  run_team(threads, [&](Team& team, int thread) {
    Buffer<float> scratch;
    scratch.reserve(width);
    for (int64_t row = thread; row < rows; row += team.size()) work(row, scratch.data());
  });
}

// out = norm(x), or norm(x + residual) and the sum, rounded, in `summed`.
template <class T>
void norm(const T* x, const T* residual, const float* weight, float eps, int64_t rows, int n, T* out,
          T* summed, int threads) {
  on_rows(rows, n, threads, [&](int64_t row, float* line) {
    size_t at = size_t(row) * n;
    put_all(line, x + at, n);
    if (residual != nullptr) {
      for (int i = 0; i < n; ++i) put(summed + at + i, line[i] + to_float(residual[at + i]));
      put_all(line, summed + at, n);
    }
    rms_norm(line, weight, n, eps, line);
    put_all(out + at, line, n);
  });
}

// x: [tokens, heads, dim]; cosine, sine: [tokens, width].
template <class T>
void rotate_all(const T* x, const float* cosine, const float* sine, int64_t tokens, int heads, int dim,
                int width, T* out, int threads) {
  on_rows(tokens, dim, threads, [&](int64_t token, float* line) {
    for (int h = 0; h < heads; ++h) {
      size_t at = (size_t(token) * heads + h) * dim;
      put_all(line, x + at, dim);
      rotate(line, cosine + token * width, sine + token * width, width);
      put_all(out + at, line, dim);
    }
  });
}

template <class T, class Element>
void encode_heads(const T* x, int64_t heads, int dim, Element* out, int threads) {
  on_rows(heads, dim, threads, [&](int64_t head, float* line) {
    put_all(line, x + head * dim, dim);
    write_heads(out + head * head_width<Element>(dim), line, 1, dim);
  });
}

template <class T>
void gate(const T* gates, const T* ups, int64_t count, int32_t activation, T* out, int threads) {
  constexpr int kBlock = 1024;
  on_rows((count + kBlock - 1) / kBlock, 2 * kBlock, threads, [&](int64_t block, float* line) {
    int64_t at = block * kBlock;
    int n = int(count - at < kBlock ? count - at : kBlock);
    put_all(line, gates + at, n);
    put_all(line + kBlock, ups + at, n);
    for (int i = 0; i < n; i += kLanes)
      store(line + i, activate(load(line + i), activation, false) * load(line + kBlock + i));
    put_all(out + at, line, n);
  });
}

}  // namespace

#define OCTAVO_BY_TYPE(bf16, call)                \
  do {                                            \
    if (bf16) {                                   \
      using T = uint16_t;                         \
      call;                                       \
    } else {                                      \
      using T = float;                            \
      call;                                       \
    }                                             \
  } while (0)

OCTAVO_EXPORT void octavo_linear(const Weight* w, const void* x, int64_t x_stride, int32_t rows, void* out,
                                 int32_t bf16, int32_t bf16_out, int32_t threads) {
  auto run = [&](auto* to) {
    OCTAVO_BY_TYPE(bf16, linear(*w, static_cast<const T*>(x), x_stride, rows, to, threads));
  };
  if (bf16_out) run(static_cast<uint16_t*>(out));
  else run(static_cast<float*>(out));
}

// Returns an error message for an invalid batch, or null after it was run.
OCTAVO_EXPORT const char* octavo_paged_attention(const Batch* batch, const AttentionShape* shape, const void* query,
                                                 const void* keys, const void* values, void* out, int32_t bf16,
                                                 int32_t threads) {
  if (const char* fault = fault_of(*batch)) return fault;
  with_cache_type(batch->cache_type, [&](auto* none) {
    using Element = std::remove_pointer_t<decltype(none)>;
    OCTAVO_BY_TYPE(bf16, attention(*batch, *shape, static_cast<const T*>(query), static_cast<const Element*>(keys),
                                     static_cast<const Element*>(values), static_cast<T*>(out), threads));
  });
  return nullptr;
}

OCTAVO_EXPORT void octavo_norm(const void* x, const void* residual, const float* weight, float eps,
                               int64_t rows, int32_t n, void* out, void* summed, int32_t bf16,
                               int32_t threads) {
  OCTAVO_BY_TYPE(bf16, norm(static_cast<const T*>(x), static_cast<const T*>(residual), weight, eps, rows, n,
                              static_cast<T*>(out), static_cast<T*>(summed), threads));
}

OCTAVO_EXPORT void octavo_rotate(const void* x, const float* cosine, const float* sine, int64_t tokens,
                                 int32_t heads, int32_t dim, int32_t width, void* out, int32_t bf16,
                                 int32_t threads) {
  OCTAVO_BY_TYPE(bf16, rotate_all(static_cast<const T*>(x), cosine, sine, tokens, heads, dim, width,
                                    static_cast<T*>(out), threads));
}

OCTAVO_EXPORT void octavo_gate(const void* gates, const void* ups, int64_t count, int32_t activation,
                               void* out, int32_t bf16, int32_t threads) {
  OCTAVO_BY_TYPE(bf16, gate(static_cast<const T*>(gates), static_cast<const T*>(ups), count, activation,
                              static_cast<T*>(out), threads));
}

// Heads [heads, dim] as a cache of a CacheType holds them, one after the other.
OCTAVO_EXPORT void octavo_encode_heads(const void* x, int64_t heads, int32_t dim, int32_t cache_type, void* out,
                                       int32_t bf16, int32_t threads) {
  with_cache_type(cache_type, [&](auto* none) {
    using Element = std::remove_pointer_t<decltype(none)>;
    OCTAVO_BY_TYPE(bf16, encode_heads(static_cast<const T*>(x), heads, dim, static_cast<Element*>(out), threads));
  });
}

// Scatter rows of `bytes` bytes to their slots; strides of blocks and positions in bytes. Returns whether
// all slots exist; if not, nothing is written.
OCTAVO_EXPORT int32_t octavo_scatter(const uint8_t* rows, const int64_t* slots, int64_t count, int64_t bytes,
                                     int64_t num_slots, int64_t block_size, int64_t block_stride, int64_t row_stride,
                                     uint8_t* cache) {
  for (int64_t i = 0; i < count; ++i)
    if (slots[i] < 0 || slots[i] >= num_slots) return 0;
  for (int64_t i = 0; i < count; ++i) {
    int64_t offset = slots[i] / block_size * block_stride + slots[i] % block_size * row_stride;
    std::memcpy(cache + offset, rows + i * bytes, bytes);
  }
  return 1;
}

OCTAVO_EXPORT_SIZE(Batch)
OCTAVO_EXPORT_SIZE(AttentionShape)
