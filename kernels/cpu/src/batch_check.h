// Bounds checks of a batch's index tables: they come from outside, as from a plugin, and index the cache.
#pragma once

#include "attention_plan.h"

namespace octavo {

// Error message for an invalid batch, or null. Block ids beyond a sequence's last key are not read.
inline const char* fault_of(const Batch& batch) {
  if (batch.query_start_loc[0] != 0 || batch.query_start_loc[batch.num_seqs] != batch.num_tokens)
    return "query_start_loc doesn't begin with 0 and end with the number of tokens";
  for (int seq = 0; seq < batch.num_seqs; ++seq) {
    int64_t tokens = batch.query_start_loc[seq + 1] - batch.query_start_loc[seq], keys = batch.seq_lens[seq];
    if (tokens < 0) return "query_start_loc goes down";
    if (keys < tokens) return "seq_lens has fewer tokens than query_start_loc";
    if (keys > batch.table_width * batch.block_size) return "seq_lens has more tokens than block_table has blocks for";
    const int64_t* blocks = batch.block_table + seq * batch.max_blocks;
    for (int64_t i = 0; i * batch.block_size < keys; ++i)
      if (blocks[i] < 0 || blocks[i] >= batch.num_blocks) return "block_table names a block that the cache doesn't have";
  }
  for (int token = 0; token < batch.num_tokens; ++token)
    if (!batch.has_slot(batch.slot_mapping[token])) return "slot_mapping names a slot that the cache doesn't have";
  return nullptr;
}

inline const char* fault_of_rows(const int64_t* rows, int count, int num_tokens) {
  for (int i = 0; i < count; ++i)
    if (rows[i] < (i ? rows[i - 1] + 1 : 0) || rows[i] >= num_tokens)
      return "output_rows isn't ascending within the batch's tokens";
  return nullptr;
}

}  // namespace octavo
