"""Attention of prompts and their chunks, ragged, in tiles of queries and heads."""

from __future__ import annotations

import triton
import triton.language as tl

from .attention_tile import attend, first_visible, head_scales


@triton.jit
def find_sequence(query_start_loc, num_seqs, tile, block_queries: tl.constexpr):
    """The sequence that a tile belongs to, by bisection.

    The tiles of sequence i begin at query_start_loc[i] // block_queries + i. The next sequence's
    begin far enough behind for its last queries, and one tile in excess has none.
    """
    low = tile * 0
    high = low + num_seqs
    while high - low > 1:
        middle = (low + high) // 2
        begin = tl.load(query_start_loc + middle).to(tl.int32) // block_queries + middle
        low = tl.where(begin <= tile, middle, low)
        high = tl.where(begin <= tile, high, middle)
    return low


@triton.jit(do_not_specialize=["num_seqs"])
def prefill_kernel(
    output,
    query,
    key_cache,
    key_scales,
    value_cache,
    value_scales,
    block_table,
    query_start_loc,
    seq_lens,
    runs,
    query_stride_token: tl.constexpr,
    query_stride_head: tl.constexpr,
    key_stride_block: tl.constexpr,
    key_stride_position: tl.constexpr,
    key_stride_head: tl.constexpr,
    value_stride_block: tl.constexpr,
    value_stride_position: tl.constexpr,
    value_stride_head: tl.constexpr,
    table_stride,
    scale,
    softcap,
    num_seqs,
    group: tl.constexpr,
    window: tl.constexpr,
    capped: tl.constexpr,
    block_size: tl.constexpr,
    head_dim: tl.constexpr,
    block_dim: tl.constexpr,
    format: tl.constexpr,
    block_rows: tl.constexpr,
    block_queries: tl.constexpr,
    block_keys: tl.constexpr,
):
    """One program attends from block_queries tokens of a sequence, for the heads of one group: row
    r of its tile is token r // group and head r % group. Single tokens are left out."""
    tile = tl.program_id(0)
    kv_head = tl.program_id(1)
    sequence = find_sequence(query_start_loc, num_seqs, tile, block_queries)
    start = tl.load(query_start_loc + sequence)
    length = (tl.load(query_start_loc + sequence + 1) - start).to(tl.int32)
    tile -= start.to(tl.int32) // block_queries + sequence
    if (length <= 1) | (tile * block_queries >= length):
        return
    rows = tl.arange(0, block_rows)
    queries_in = tile * block_queries + rows // group
    row_inside = (rows < block_queries * group) & (queries_in < length)
    tokens = start + queries_in
    heads = kv_head * group + rows % group
    dims = tl.arange(0, block_dim)[None, :]
    inside = row_inside[:, None] & (dims < head_dim)
    queries = tl.load(
        query + tokens[:, None] * query_stride_token + heads[:, None] * query_stride_head + dims,
        mask=inside,
        other=0.0,
    )
    context = tl.load(seq_lens + sequence).to(tl.int32)
    # Rows outside stand for the last token, whose run is there to be read.
    safe = tl.minimum(queries_in, length - 1)
    positions = context - length + safe
    first = first_visible(positions, runs, start + safe, window)
    last = positions
    if runs is not None:
        run_end = tl.load(runs + (start + safe) * 2 + 1).to(tl.int32)
        last = tl.minimum(tl.maximum(positions, run_end - 1), context - 1)
    sums, weight, _ = attend(
        queries,
        first,
        last,
        tl.min(first, axis=0),
        tl.max(last, axis=0) + 1,
        key_cache + kv_head * key_stride_head,
        head_scales(key_scales, kv_head, key_stride_head),
        value_cache + kv_head * value_stride_head,
        head_scales(value_scales, kv_head, value_stride_head),
        block_table + sequence.to(tl.int64) * table_stride,
        key_stride_block,
        key_stride_position,
        value_stride_block,
        value_stride_position,
        scale,
        softcap,
        capped,
        block_size,
        head_dim,
        block_rows,
        block_keys,
        block_dim,
        format,
    )
    offsets = (tokens * tl.num_programs(1) * group + heads)[:, None] * head_dim + dims
    tl.store(output + offsets, sums / weight[:, None], mask=inside)
