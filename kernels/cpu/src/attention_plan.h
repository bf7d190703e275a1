// Tasks of a ragged batch's attention, and offsets of a sequence's keys in the paged cache (Kwon et al.,
// 2023, arXiv:2309.06180).
#pragma once

#include <algorithm>
#include <vector>

#include "weight.h"

namespace octavo {

constexpr int kKeyTile = 64;
constexpr int kQueryRows = 192;

// Passed from Python; see kernels.ops.AttentionMetadata.
struct Batch {
  int32_t num_tokens, num_seqs;
  const int64_t* query_start_loc;
  const int64_t* seq_lens;
  const int64_t* block_table;
  const int64_t* slot_mapping;
  const int64_t* bidirectional;  // or null
  int64_t table_width, max_blocks;  // columns of block_table, and its row stride
  int64_t num_blocks;
  int64_t block_stride, row_stride;  // elements from one block, or position, to the next one
  int32_t block_size;
  int32_t cache_type;  // CacheType of keys and values

  // Offset of a slot's keys and values, in elements.
  size_t offset(int64_t slot) const { return slot / block_size * block_stride + slot % block_size * row_stride; }
  bool has_slot(int64_t slot) const { return slot >= 0 && slot < num_blocks * block_size; }
};

struct AttentionShape {
  int32_t heads, kv_heads, head_dim;
  float scale, softcap;
  int32_t window;
  int32_t bf16_products;  // queries and weights may be rounded to bf16

  int group() const { return heads / kv_heads; }
};

// Task: some tokens of one sequence against a range of its keys, for the query heads of some key heads.
struct AttentionTask {
  int32_t seq, kv_head, kv_heads, token, tokens;
  int64_t key_start, key_end;
  int32_t part;  // index of its first head's partial result, or -1 if it sees all keys
};

// Partial results that make up the output of one token's query heads.
struct Merge {
  int32_t kv_head, token, first_part, parts;  // first_part + i * kv_heads for i < parts
};

struct AttentionPlan {
  std::vector<AttentionTask> tasks;
  std::vector<Merge> merges;
  int parts = 0;

  void build(const Batch& batch, const AttentionShape& shape, int threads);
};

// Tasks of a prompt's last tokens come first, as they take longest. A decode takes all heads at once, so
// that the cache is read in order. Few decodes are split over their keys: one sequence into exactly one
// split per thread, several into about two tasks per thread.
inline void AttentionPlan::build(const Batch& batch, const AttentionShape& shape, int threads) {
  tasks.clear();
  merges.clear();
  parts = 0;
  int tile = shape.group() < kQueryRows ? kQueryRows / shape.group() : 1;
  int64_t splits = batch.num_seqs == 1 ? threads : (2 * threads + batch.num_seqs - 1) / batch.num_seqs;
  for (int seq = 0; seq < batch.num_seqs; ++seq) {
    int start = int(batch.query_start_loc[seq]), end = int(batch.query_start_loc[seq + 1]);
    int64_t keys = batch.seq_lens[seq];
    if (start == end) continue;
    if (end - start == 1 && (splits == 1 || keys <= kKeyTile)) {
      tasks.push_back({seq, 0, shape.kv_heads, start, 1, 0, keys, -1});
    } else if (end - start == 1) {
      int64_t size = round_up(int((keys + splits - 1) / splits), kLanes);
      int first = parts;
      for (int64_t key = 0; key < keys; key += size, parts += shape.kv_heads)
        tasks.push_back({seq, 0, shape.kv_heads, start, 1, key, key + size < keys ? key + size : keys, parts});
      for (int head = 0; head < shape.kv_heads; ++head)
        merges.push_back({head, start, first + head, (parts - first) / shape.kv_heads});
    } else {
      int pieces = (end - start + tile - 1) / tile, size = (end - start + pieces - 1) / pieces;
      for (int head = 0; head < shape.kv_heads; ++head)
        for (int token = end; token > start; token -= size) {
          int first = token - size > start ? token - size : start;
          tasks.push_back({seq, head, 1, first, token - first, 0, keys, -1});
        }
    }
  }
}

struct KeyRange {
  int64_t first, last;
};

// Keys of a task that are visible to its token `row` of the batch.
inline KeyRange visible_keys(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, int row) {
  int64_t position = batch.seq_lens[task.seq] - batch.query_start_loc[task.seq + 1] + row;
  int64_t first = shape.window && position >= shape.window ? position - shape.window + 1 : 0;
  int64_t last = position + 1;
  if (batch.bidirectional) {
    const int64_t* run = batch.bidirectional + 2 * row;
    first = std::min(first, run[0]);
    last = std::max(last, run[1]);
  }
  return {std::max(first, task.key_start), std::min(last, task.key_end)};
}

// Intersection of a range with the `count` keys from `from` on, relative to `from`.
inline KeyRange within(KeyRange range, int64_t from, int64_t count) {
  auto clip = [&](int64_t key) { return std::min(std::max(key - from, int64_t(0)), count); };
  return {clip(range.first), clip(range.last)};
}

// Visible keys of each token of a task -> ranges; returns their hull.
inline KeyRange find_keys(const Batch& batch, const AttentionShape& shape, const AttentionTask& task,
                          std::vector<KeyRange>& ranges) {
  ranges.clear();
  KeyRange seen{batch.seq_lens[task.seq], 0};
  for (int t = 0; t < task.tokens; ++t) {
    ranges.push_back(visible_keys(batch, shape, task, task.token + t));
    seen.first = std::min(seen.first, ranges[t].first);
    seen.last = std::max(seen.last, ranges[t].last);
  }
  return seen;
}

// Offsets of the keys and values of a sequence's consecutive positions.
class OffsetCursor {
 public:
  OffsetCursor(const Batch& batch, int seq, int64_t position)
      : batch_(batch),
        block_(batch.block_table + seq * batch.max_blocks + position / batch.block_size),
        within_(position % batch.block_size) {}

  size_t next() {
    size_t offset = *block_ * batch_.block_stride + within_ * batch_.row_stride;
    if (++within_ == batch_.block_size) {
      ++block_;
      within_ = 0;
    }
    return offset;
  }

 private:
  const Batch& batch_;
  const int64_t* block_;
  int64_t within_;
};

}  // namespace octavo
