// Attention of a ragged batch over the paged cache; attention.cpp compiles it once for all callers.
#pragma once

#include <memory>

#include "attention_plan.h"
#include "cache_element.h"
#include "team.h"

namespace octavo {

// Buffers of one thread for its tasks.
class AttentionScratch {
 public:
  AttentionScratch();
  ~AttentionScratch();

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

// Prefetch of a decode's first keys and values, before its task is run.
template <class Element>
void prefetch_first(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, const Element* keys,
                    const Element* values) {
  if (task.tokens > 1) return;
  int64_t first = visible_keys(batch, shape, task, task.token).first;
  int64_t last = std::min(first + kKeyTile, task.key_end);
  size_t width = head_width<Element>(shape.head_dim), bytes = task.kv_heads * width * sizeof(Element);
  OffsetCursor offsets(batch, task.seq, first);
  for (int64_t key = first; key < last; ++key) {
    size_t at = offsets.next() + task.kv_head * width;
    prefetch(keys + at, bytes);
    prefetch(values + at, bytes);
  }
}

// Run all tasks of a plan; ends with a barrier. Rows of `out` hold all query heads; unless it is direct,
// they are to be converted afterwards. `parts` takes the results of tasks that see only some keys.
// Element, Query: those of a cache, and float; or uint16_t (bf16) for both.
template <class Element, class Query>
void run_attention(Team& team, int thread, const AttentionPlan& plan, const Batch& batch, const AttentionShape& shape,
                   AttentionScratch& scratch, const Query* query, size_t query_stride, const Element* keys,
                   const Element* values, const RowBuffer& out, float* parts);

}  // namespace octavo
