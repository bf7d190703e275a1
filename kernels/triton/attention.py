"""Launches of paged attention: kernels and tile sizes for a ragged batch."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from ..ops import AttentionMetadata
from .decode_attention import SPLIT_SIZE, decode_kernel, merge_splits_kernel
from .layout import check_caches, codes_and_scales, dense, kv_format
from .prefill_attention import prefill_kernel


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> Tensor:
    """See `kernels.ops.PagedAttention`. FlashAttention-2 (Dao, 2023, arXiv:2307.08691) over
    blocks; single-token decodes are split along their keys (Flash-Decoding: Dao et al., 2023).

    A token's result depends on its own sequence alone: the splits are of a fixed size.
    """
    output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    decodes = [
        context
        for length, context in zip(metadata.query_lens, metadata.context_lens, strict=True)
        if length == 1
    ]
    check_caches(key_cache, value_cache)
    inputs = (dense(query), key_cache, value_cache, metadata, scale, softcap, window)
    if decodes:
        _decode(output, _num_splits(max(decodes), metadata, window), *inputs)
    if any(length > 1 for length in metadata.query_lens):
        _prefill(output, *inputs)
    return output


def _num_splits(context: int, metadata: AttentionMetadata, window: int) -> int:
    """Upper bound of the splits that the longest decode's keys lie in."""
    splits: int = triton.cdiv(context, SPLIT_SIZE)
    if window and metadata.bidirectional is None:
        splits = min(splits, triton.cdiv(window, SPLIT_SIZE) + 1)
    return splits


def _decode(
    output: Tensor,
    num_splits: int,
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
    softcap: float,
    window: int,
) -> None:
    num_seqs, num_heads, num_kv_heads = len(metadata.query_lens), query.shape[1], key_cache.shape[2]
    head_dim = query.shape[2]
    wide: dict[str, Any] = {"dtype": torch.float32, "device": query.device}
    partial = maximum = total = None
    if num_splits > 1:
        partial = torch.empty((num_seqs, num_heads, num_splits, head_dim), **wide)
        maximum = torch.empty((num_seqs, num_heads, num_splits), **wide)
        total = torch.empty((num_seqs, num_heads, num_splits), **wide)
    common = _common(query, key_cache, metadata, window, softcap)
    decode_kernel[(num_seqs, num_kv_heads, num_splits)](
        output,
        partial,
        maximum,
        total,
        *_pointers(query, key_cache, value_cache, metadata),
        scale,
        softcap,
        num_splits,
        **common,
        **_decode_tile(common["block_dim"], common["group"], query.dtype),
    )
    if num_splits > 1:
        merge_splits_kernel[(num_seqs, num_heads)](
            output,
            partial,
            maximum,
            total,
            metadata.query_start_loc,
            metadata.seq_lens,
            metadata.bidirectional,
            num_splits,
            num_heads,
            window=window,
            head_dim=head_dim,
            block_dim=common["block_dim"],
            block_splits=16,
        )


def _prefill(
    output: Tensor,
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
    softcap: float,
    window: int,
) -> None:
    num_tokens, num_seqs = len(query), len(metadata.query_lens)
    common = _common(query, key_cache, metadata, window, softcap)
    tile = _prefill_tile(common, query.dtype, metadata)
    block_queries = tile["block_rows"] // common["group"]
    # Each sequence has as many tiles as it fills, and at most one more: see find_sequence.
    num_tiles = num_tokens // block_queries + num_seqs
    prefill_kernel[(num_tiles, key_cache.shape[2])](
        output,
        *_pointers(query, key_cache, value_cache, metadata),
        scale,
        softcap,
        num_seqs,
        **common,
        block_queries=block_queries,
        **tile,
    )


def _decode_tile(block_dim: int, group: int, dtype: torch.dtype) -> dict[str, int]:
    """The largest tiles that spill no registers on compute capability 8.0 and 9.0; so is
    _prefill_tile."""
    rows = max(16, triton.next_power_of_2(group))
    if dtype is torch.float32:
        keys, warps, stages = 16, 4 if block_dim <= 128 else 8, 2
    else:
        keys, warps, stages = (64, 4, 3) if block_dim <= 128 else (32, 4, 2)
    return {"block_rows": rows, "block_keys": keys, "num_warps": warps, "num_stages": stages}


def _prefill_tile(
    common: dict[str, Any], dtype: torch.dtype, metadata: AttentionMetadata
) -> dict[str, int]:
    block_dim, group = common["block_dim"], common["group"]
    if dtype is torch.float32:
        rows, keys, warps = 16, 16, 4
    elif block_dim > 128:
        rows, keys, warps = 32, 32, 8 if common["format"] else 4
    elif common["format"]:
        rows, keys, warps = 64, 32, 8  # codes are widened in registers
    else:
        # Registers for each of these options are taken from the tile of scores.
        options = common["capped"] or metadata.bidirectional is not None or group & (group - 1)
        rows, keys, warps = 128, 32 if block_dim > 64 and options else 64, 8
    rows = max(rows, triton.next_power_of_2(group))
    return {"block_rows": rows, "block_keys": keys, "num_warps": warps, "num_stages": 2}


def _pointers(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, metadata: AttentionMetadata
) -> tuple[Any, ...]:
    """The tensors and strides that both kernels take, in their order."""
    return (
        query,
        *codes_and_scales(key_cache),
        *codes_and_scales(value_cache),
        metadata.block_table,
        metadata.query_start_loc,
        metadata.seq_lens,
        metadata.bidirectional,
        *query.stride()[:2],
        *key_cache.stride()[:3],
        *value_cache.stride()[:3],
        metadata.block_table.stride(0),
    )


def _common(
    query: Tensor, key_cache: Tensor, metadata: AttentionMetadata, window: int, softcap: float
) -> dict[str, Any]:
    """Compile-time constants of both kernels."""
    head_dim = query.shape[2]
    return {
        "group": query.shape[1] // key_cache.shape[2],
        "window": window,
        "capped": softcap != 0,
        "block_size": key_cache.shape[1],
        "head_dim": head_dim,
        "block_dim": max(16, triton.next_power_of_2(head_dim)),
        "format": kv_format(key_cache),
    }
