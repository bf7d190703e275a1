"""Paged attention in plain torch: prompts one by one, single-token decodes in one batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..ops import AttentionMetadata
from .kv_cache import read_heads


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> Tensor:
    """See `kernels.ops.PagedAttention`. Kwon et al., 2023 (arXiv:2309.06180)."""
    output = torch.empty_like(query)
    first, last = _visible_range(metadata, window)
    decodes = [i for i, length in enumerate(metadata.query_lens) if length == 1]
    if decodes:
        sequences = torch.tensor(decodes, device=query.device)
        longest = max(metadata.context_lens[i] for i in decodes)
        keys, values = _gather(
            key_cache, value_cache, metadata.block_table[sequences], longest, query
        )
        rows = metadata.query_start_loc[sequences]
        mask = _mask(first[rows], last[rows], longest)[:, None]
        output[rows] = _attend(query[rows, None], keys, values, mask, scale, softcap)[:, 0]
    start = 0
    for i, length in enumerate(metadata.query_lens):
        if length > 1:
            chunk = slice(start, start + length)
            context = metadata.context_lens[i]
            keys, values = _gather(
                key_cache, value_cache, metadata.block_table[i, None], context, query
            )
            mask = _mask(first[chunk], last[chunk], context)[None]
            output[chunk] = _attend(query[None, chunk], keys, values, mask, scale, softcap)[0]
        start += length
    return output


def _visible_range(metadata: AttentionMetadata, window: int) -> tuple[Tensor, Tensor]:
    """The first and the last position that each token of the batch attends to."""
    lengths = metadata.query_start_loc.diff()
    # Last tokens of sequences are the last ones in their caches.
    ends = (metadata.seq_lens - metadata.query_start_loc[1:]).repeat_interleave(lengths)
    positions = ends + torch.arange(len(ends), device=ends.device)
    first = (positions - window + 1).clamp(min=0) if window else torch.zeros_like(positions)
    if metadata.bidirectional is None:
        return first, positions
    run_start, run_end = metadata.bidirectional.unbind(1)
    return torch.minimum(first, run_start), torch.maximum(positions, run_end - 1)


def _mask(first: Tensor, last: Tensor, num_keys: int) -> Tensor:
    """[num_tokens] ranges -> [num_tokens, num_keys], true where a key is seen."""
    keys = torch.arange(num_keys, device=first.device)
    return (keys >= first[:, None]) & (keys <= last[:, None])


def _gather(
    key_cache: Tensor,
    value_cache: Tensor,
    block_table: Tensor,
    length: int,
    query: Tensor,
) -> tuple[Tensor, Tensor]:
    """The first `length` keys and values of each row of block ids, in the query's dtype: [rows,
    length, heads, dim]."""
    blocks = block_table[:, : -(-length // key_cache.shape[1])]
    keys, values = (
        read_heads(cache[blocks].flatten(1, 2)[:, :length], query.shape[-1], query.dtype)
        for cache in (key_cache, value_cache)
    )
    return keys, values


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float, softcap: float
) -> Tensor:
    """query: [n, queries, heads, dim]; keys, values: [n, keys, kv heads, dim]; mask: [n, queries,
    keys]."""
    query, keys, values = (x.transpose(1, 2) for x in (query, keys, values))
    mask = mask[:, None]
    if not softcap:
        attended = scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=scale, enable_gqa=True
        )
        return attended.transpose(1, 2)
    repeats = query.shape[1] // keys.shape[1]
    keys, values = (x.repeat_interleave(repeats, dim=1) for x in (keys, values))
    scores = torch.tanh((query @ keys.transpose(-1, -2)).float() * (scale / softcap)) * softcap
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).to(query.dtype)
    return (weights @ values).transpose(1, 2)
