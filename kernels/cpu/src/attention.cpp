// Attention's tasks, each by the kernel that takes it, and the merging of partial softmaxes.
#include "attention.h"

#include "direct_attention.h"
#include "tile_attention.h"

namespace octavo {
namespace {

// State of one thread for its tasks. Element is one of the cache's.
template <class Element>
class Attention {
 public:
  template <class Query>
  void run(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, const Query* query,
           size_t query_stride, const Element* keys, const Element* values, const RowBuffer& out, float* parts) {
    if (DirectAttention<Element>::takes(shape, task)) {
      direct_.begin(shape, task, query, query_stride);
      return run_direct(batch, shape, task, keys, values, out, parts);
    }
    for (int head = 0; head < task.kv_heads; ++head) {
      tiles_.begin(shape, task, task.kv_head + head, query, query_stride);
      run_tiles(batch, shape, task, head, keys, values, out, parts);
    }
  }

 private:
  // Begun tasks: compiled once for all types of queries.
  [[gnu::noinline]] void run_direct(const Batch& batch, const AttentionShape& shape, const AttentionTask& task,
                                    const Element* keys, const Element* values, const RowBuffer& out, float* parts) {
    direct_.run(batch, shape, task, keys, values);
    for (int head = 0; head < task.kv_heads; ++head)
      write(direct_, head * task.tokens * shape.group(), shape, task, head, out, parts);
  }

  [[gnu::noinline]] void run_tiles(const Batch& batch, const AttentionShape& shape, const AttentionTask& task,
                                   int head, const Element* keys, const Element* values, const RowBuffer& out,
                                   float* parts) {
    tiles_.run(batch, shape, task, keys, values);
    write(tiles_, 0, shape, task, head, out, parts);
  }

  // Results of a head from row `first` on: final, or partial where the task sees only some keys.
  template <class From>
  void write(const From& from, int first, const AttentionShape& shape, const AttentionTask& task, int head,
             const RowBuffer& out, float* parts) {
    if (task.part < 0) finish(from, first, shape, task, task.kv_head + head, out);
    else write_part(from, first, shape, task, head, parts);
  }

  // out[token][head] = the weighted mean of values.
  template <class From>
  void finish(const From& from, int first, const AttentionShape& shape, const AttentionTask& task, int kv_head,
              const RowBuffer& out) {
    int dim = shape.head_dim, group = shape.group();
    line_.reserve(round_up(dim, kLanes));
    for (int r = 0; r < task.tokens * group; ++r) {
      from.write(first + r, 1.0f / from.softmax(first + r).total(), line_.data());
      out.put(task.token + r / group, (kv_head * group + r % group) * dim, line_.data(), dim);
    }
  }

  // Partial result of each row: row max, sum of weights, weighted sum of values.
  template <class From>
  static void write_part(const From& from, int first, const AttentionShape& shape, const AttentionTask& task, int head,
                         float* parts) {
    int dim = shape.head_dim, group = shape.group();
    float* to = parts + size_t(task.part + head) * group * (dim + 2);
    for (int r = 0; r < group; ++r, to += dim + 2) {
      to[0] = from.softmax(first + r).row_max();
      to[1] = from.softmax(first + r).total();
      from.write(first + r, 1.0f, to + 2);
    }
  }

  DirectAttention<Element> direct_;
  TileAttention<Element> tiles_;
  Buffer<float> line_;
};

// Merge the partial softmaxes of one token.
void merge_parts(const Merge& merge, const AttentionShape& shape, const float* parts, Buffer<float>& line,
                 const RowBuffer& out) {
  float* to = line.reserve(shape.head_dim);
  int dim = shape.head_dim, group = shape.group();
  size_t width = dim + 2;
  for (int g = 0; g < group; ++g) {
    auto part = [&](int i) { return parts + (size_t(merge.first_part + i * shape.kv_heads) * group + g) * width; };
    float row_max = -std::numeric_limits<float>::infinity(), total = 0;
    for (int i = 0; i < merge.parts; ++i) row_max = part(i)[0] > row_max ? part(i)[0] : row_max;
    for (int d = 0; d < dim; ++d) to[d] = 0;
    for (int i = 0; i < merge.parts; ++i) {
      float factor = part(i)[1] > 0 ? std::exp(part(i)[0] - row_max) : 0.0f;
      total += part(i)[1] * factor;
      for (int d = 0; d < dim; ++d) to[d] += part(i)[2 + d] * factor;
    }
    for (int d = 0; d < dim; ++d) to[d] /= total;
    out.put(merge.token, (merge.kv_head * group + g) * dim, to, dim);
  }
}

}  // namespace

struct AttentionScratch::Buffers {
  Attention<float> wide;
  Attention<uint16_t> narrow;
  Attention<CacheInt8> int8;
  Attention<CacheFloat8> float8;

  Attention<float>& of(const float*) { return wide; }
  Attention<uint16_t>& of(const uint16_t*) { return narrow; }
  Attention<CacheInt8>& of(const CacheInt8*) { return int8; }
  Attention<CacheFloat8>& of(const CacheFloat8*) { return float8; }
};

AttentionScratch::AttentionScratch() : buffers_(new Buffers) {}
AttentionScratch::~AttentionScratch() = default;

template <class Element, class Query>
void run_attention(Team& team, int thread, const AttentionPlan& plan, const Batch& batch, const AttentionShape& shape,
                   AttentionScratch& scratch, const Query* query, size_t query_stride, const Element* keys,
                   const Element* values, const RowBuffer& out, float* parts) {
  Attention<Element>& attention = scratch.buffers().of(keys);
  share_tasks(team, thread, plan.tasks.size(), [&](int64_t i) {
    attention.run(batch, shape, plan.tasks[i], query, query_stride, keys, values, out, parts);
  });
  team.barrier();
  if (plan.merges.empty()) return;
  Buffer<float> line;
  share_tasks(team, thread, plan.merges.size(),
              [&](int64_t i) { merge_parts(plan.merges[i], shape, parts, line, out); });
  team.barrier();
}

#define OCTAVO_ATTENTION(Element, Query)                                                                    \
  template void run_attention(Team&, int, const AttentionPlan&, const Batch&, const AttentionShape&,        \
                              AttentionScratch&, const Query*, size_t, const Element*, const Element*,      \
                              const RowBuffer&, float*)
OCTAVO_ATTENTION(float, float);
OCTAVO_ATTENTION(uint16_t, float);
OCTAVO_ATTENTION(uint16_t, uint16_t);
OCTAVO_ATTENTION(CacheInt8, float);
OCTAVO_ATTENTION(CacheFloat8, float);

}  // namespace octavo
