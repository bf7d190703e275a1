// Attention of a ragged batch over the paged cache: run tasks, then merge partial softmaxes.
#pragma once

#include "attention_plan.h"
#include "direct_attention.h"
#include "team.h"
#include "tile_attention.h"

namespace octavo {

// State of one thread for its tasks. Element is float or uint16_t (bf16).
template <class Element>
class Attention {
 public:
  // Rows of `out` hold all query heads; a task that sees only some keys writes its partial result
  // instead. Unless `out` is direct, its rows are to be converted afterwards.
  template <class Query>
  void run(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, const Query* query,
           size_t query_stride, const Element* keys, const Element* values, const RowBuffer& out, float* parts) {
    line_.reserve(round_up(shape.head_dim, kLanes));
    auto write = [&](const auto& from, int row, int head) {
      if (task.part < 0) finish(from, row, shape, task, task.kv_head + head, out);
      else write_part(from, row, shape, task, head, parts);
    };
    if (DirectAttention<Element>::takes(shape, task)) {
      direct_.run(batch, shape, task, query, query_stride, keys, values);
      for (int head = 0; head < task.kv_heads; ++head) write(direct_, head * task.tokens * shape.group(), head);
      return;
    }
    for (int head = 0; head < task.kv_heads; ++head) {
      tiles_.run(batch, shape, task, task.kv_head + head, query, query_stride, keys, values);
      write(tiles_, 0, head);
    }
  }

  // Prefetch of a decode's first keys and values, before `run`.
  static void prefetch_first(const Batch& batch, const AttentionShape& shape, const AttentionTask& task,
                             const Element* keys, const Element* values) {
    if (task.tokens > 1) return;
    int64_t first = visible_keys(batch, shape, task, task.token).first;
    int64_t last = std::min(first + kKeyTile, task.key_end);
    size_t bytes = size_t(task.kv_heads) * shape.head_dim * sizeof(Element);
    OffsetCursor offsets(batch, task.seq, first);
    for (int64_t key = first; key < last; ++key) {
      size_t at = offsets.next() + size_t(task.kv_head) * shape.head_dim;
      prefetch(keys + at, bytes);
      prefetch(values + at, bytes);
    }
  }

 private:
  // out[token][head] = the weighted mean of values.
  template <class From>
  void finish(const From& from, int first, const AttentionShape& shape, const AttentionTask& task, int kv_head,
              const RowBuffer& out) {
    int dim = shape.head_dim, group = shape.group();
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
inline void merge_parts(const Merge& merge, const AttentionShape& shape, const float* parts, Buffer<float>& line,
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

// Run all tasks of a plan; ends with a barrier. out: rows of all query heads.
template <class Element, class Query>
void run_attention(Team& team, int thread, const AttentionPlan& plan, const Batch& batch, const AttentionShape& shape,
                   Attention<Element>& state, const Query* query, size_t query_stride, const Element* keys,
                   const Element* values, const RowBuffer& out, float* parts) {
  share_tasks(team, thread, plan.tasks.size(), [&](int64_t i) {
    state.run(batch, shape, plan.tasks[i], query, query_stride, keys, values, out, parts);
  });
  team.barrier();
  if (plan.merges.empty()) return;
  Buffer<float> line;
  share_tasks(team, thread, plan.merges.size(),
              [&](int64_t i) { merge_parts(plan.merges[i], shape, parts, line, out); });
  team.barrier();
}

}  // namespace octavo
