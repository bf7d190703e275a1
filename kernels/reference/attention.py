"""Paged attention in plain torch: prompts one by one, single-token decodes in one batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..ops import AttentionMetadata


def write_kv(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """See `kernels.ops.WriteKV`."""
    key_cache.flatten(0, 1).index_copy_(0, slot_mapping, key)
    value_cache.flatten(0, 1).index_copy_(0, slot_mapping, value)


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
) -> Tensor:
    """See `kernels.ops.PagedAttention`. Kwon et al., 2023 (arXiv:2309.06180)."""
    output = torch.empty_like(query)
    decodes = [i for i, length in enumerate(metadata.query_lens) if length == 1]
    if decodes:
        _decode(query, key_cache, value_cache, metadata, scale, decodes, output)
    start = 0
    for i, length in enumerate(metadata.query_lens):
        if length > 1:
            tokens = slice(start, start + length)
            output[tokens] = _prefill(query[tokens], key_cache, value_cache, metadata, scale, i)
        start += length
    return output


def _prefill(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
    index: int,
) -> Tensor:
    """Attention of one sequence's chunk, whose last token is the last one in the cache."""
    query_len, context_len = query.shape[0], metadata.context_lens[index]
    num_blocks = -(-context_len // key_cache.shape[1])
    blocks = metadata.block_table[index, :num_blocks]
    keys = key_cache[blocks].flatten(0, 1)[:context_len]
    values = value_cache[blocks].flatten(0, 1)[:context_len]
    mask = torch.ones(query_len, context_len, dtype=torch.bool, device=query.device)
    mask = mask.tril(diagonal=context_len - query_len)
    attended = scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=mask,
        scale=scale,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


def _decode(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
    indices: list[int],
    output: Tensor,
) -> None:
    """Attention of the sequences with one new token each, over contexts padded to the longest."""
    sequences = torch.tensor(indices, device=query.device)
    rows = metadata.query_start_loc[sequences]
    longest = max(metadata.context_lens[i] for i in indices)
    num_blocks = -(-longest // key_cache.shape[1])
    blocks = metadata.block_table[sequences, :num_blocks]
    keys = key_cache[blocks].flatten(1, 2)[:, :longest]
    values = value_cache[blocks].flatten(1, 2)[:, :longest]
    lengths = metadata.seq_lens[sequences]
    mask = torch.arange(longest, device=query.device) < lengths[:, None]
    attended = scaled_dot_product_attention(
        query[rows].unsqueeze(2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=mask[:, None, None, :],
        scale=scale,
        enable_gqa=True,
    )
    output[rows] = attended.squeeze(2)
