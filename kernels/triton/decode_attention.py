"""Attention of single tokens, split along the keys so that few sequences fill a GPU too."""

from __future__ import annotations

import triton
import triton.language as tl

from .attention_tile import attend, first_visible, head_scales

#: Positions in one split. Each split writes head_dim + 2 floats per head for the merge: at most
#: a thirtieth of what it reads, for a group of four heads and bfloat16 keys of 128 elements.
SPLIT_SIZE = 256
_SPLIT_SIZE = tl.constexpr(SPLIT_SIZE)


@triton.jit(do_not_specialize=["num_splits"])
def decode_kernel(
    output,
    partial,
    maximum,
    total,
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
    num_splits,
    group: tl.constexpr,
    window: tl.constexpr,
    capped: tl.constexpr,
    block_size: tl.constexpr,
    head_dim: tl.constexpr,
    block_dim: tl.constexpr,
    format: tl.constexpr,
    block_rows: tl.constexpr,
    block_keys: tl.constexpr,
):
    """One program attends from the heads of one group to one split of their sequence; sequences
    of more or fewer new tokens than one are left out. Without `partial` the only split is written
    to the output."""
    sequence = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    token = tl.load(query_start_loc + sequence)
    if tl.load(query_start_loc + sequence + 1) != token + 1:
        return
    context = tl.load(seq_lens + sequence).to(tl.int32)
    first = first_visible(context - 1, runs, token, window)
    split = first // _SPLIT_SIZE + tl.program_id(2)
    begin = tl.maximum(first, split * _SPLIT_SIZE)
    end = tl.minimum(context, (split + 1) * _SPLIT_SIZE)
    if begin >= end:
        return
    rows = tl.arange(0, block_rows)
    heads = kv_head * group + rows
    dims = tl.arange(0, block_dim)[None, :]
    inside = (rows < group)[:, None] & (dims < head_dim)
    queries = tl.load(
        query + token * query_stride_token + heads[:, None] * query_stride_head + dims,
        mask=inside,
        other=0.0,
    )
    sums, weight, peak = attend(
        queries,
        rows * 0 + begin,
        rows * 0 + end - 1,
        begin,
        end,
        key_cache + kv_head * key_stride_head,
        head_scales(key_scales, kv_head, key_stride_head),
        value_cache + kv_head * value_stride_head,
        head_scales(value_scales, kv_head, value_stride_head),
        block_table + sequence * table_stride,
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
    num_heads = tl.num_programs(1) * group
    if partial is None:
        offsets = (token * num_heads + heads)[:, None] * head_dim + dims
        tl.store(output + offsets, sums / weight[:, None], mask=inside)
    else:
        offsets = (sequence * num_heads + heads) * num_splits + tl.program_id(2)
        tl.store(partial + offsets[:, None] * head_dim + dims, sums, mask=inside)
        tl.store(maximum + offsets, peak, mask=rows < group)
        tl.store(total + offsets, weight, mask=rows < group)


@triton.jit(do_not_specialize=["num_splits"])
def merge_splits_kernel(
    output,
    partial,
    maximum,
    total,
    query_start_loc,
    seq_lens,
    runs,
    num_splits,
    num_heads,
    window: tl.constexpr,
    head_dim: tl.constexpr,
    block_dim: tl.constexpr,
    block_splits: tl.constexpr,
):
    """One program merges the splits of one head of one sequence into the output."""
    sequence = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    token = tl.load(query_start_loc + sequence)
    if tl.load(query_start_loc + sequence + 1) != token + 1:
        return
    context = tl.load(seq_lens + sequence).to(tl.int32)
    first = first_visible(context - 1, runs, token, window)
    used = (context - 1) // _SPLIT_SIZE - first // _SPLIT_SIZE + 1
    row = (sequence * num_heads + head) * num_splits
    dims = tl.arange(0, block_dim)
    peak = float("-inf")
    weight = 0.0
    sums = tl.zeros((block_dim,), tl.float32)
    for start in range(0, used, block_splits):
        splits = start + tl.arange(0, block_splits)
        inside = splits < used
        peaks = tl.load(maximum + row + splits, mask=inside, other=float("-inf"))
        weights = tl.load(total + row + splits, mask=inside, other=0.0)
        parts = tl.load(
            partial + (row + splits)[:, None] * head_dim + dims[None, :],
            mask=inside[:, None] & (dims < head_dim)[None, :],
            other=0.0,
        )
        new_peak = tl.maximum(peak, tl.max(peaks, axis=0))
        shrink = tl.exp2(peak - new_peak)
        factors = tl.exp2(peaks - new_peak)
        weight = weight * shrink + tl.sum(weights * factors, axis=0)
        sums = sums * shrink + tl.sum(parts * factors[:, None], axis=0)
        peak = new_peak
    offsets = (token * num_heads + head) * head_dim + dims
    tl.store(output + offsets, sums / weight, mask=dims < head_dim)
