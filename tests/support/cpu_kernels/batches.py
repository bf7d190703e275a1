"""Ragged batches over a paged cache in which everything that no token may see is not-a-number."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from octavo.kernels.kv_format import head_width, is_quantized
from octavo.kernels.ops import AttentionMetadata
from octavo.kernels.reference.kv_cache import quantize
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """Of attention."""

    heads: int
    kv_heads: int
    dim: int
    block_size: int


def random_metadata(
    sequences: Sequence[tuple[int, int]], block_size: int, *, bidirectional: bool = False
) -> tuple[AttentionMetadata, int]:
    """sequences: tokens before this step and in it. Returns also how many blocks a cache needs,
    of which some are nobody's."""
    contexts = [past + new for past, new in sequences]
    counts = [-(-context // block_size) for context in contexts]
    num_blocks = sum(counts) + 3
    free = iter(torch.randperm(num_blocks).tolist())
    table = torch.zeros(len(sequences), max(counts) + random.randrange(3), dtype=torch.int64)
    slots, runs = [], []
    for row, ((past, new), count) in enumerate(zip(sequences, counts, strict=True)):
        table[row, :count] = torch.tensor([next(free) for _ in range(count)])
        positions = torch.arange(past, past + new)
        slots.append(table[row, positions // block_size] * block_size + positions % block_size)
        runs.append(_runs(past, new))
    starts = torch.tensor([0, *(new for _, new in sequences)]).cumsum(0)
    metadata = AttentionMetadata(
        query_start_loc=starts,
        seq_lens=torch.tensor(contexts),
        block_table=table,
        slot_mapping=torch.cat(slots),
        query_lens=tuple(new for _, new in sequences),
        context_lens=tuple(contexts),
        bidirectional=torch.cat(runs) if bidirectional else None,
    )
    return metadata, num_blocks


def _runs(past: int, new: int) -> Tensor:
    """Each token sees itself, but for one stretch whose tokens see all of it."""
    positions = torch.arange(past, past + new)
    visible = torch.stack((positions, positions + 1), dim=1)
    if not new:
        return visible
    end = past + random.randint(1, new)
    start = random.randint(0, end - 1)
    inside = (positions >= start) & (positions < end)
    visible[inside] = torch.tensor([start, end])
    return visible


def random_cache(
    metadata: AttentionMetadata, num_blocks: int, shape: Shape, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Keys and values with what the batch's sequences hold; all else is not-a-number. Between two
    blocks lies what belongs to another layer."""
    width = head_width(dtype, shape.dim)
    size = (num_blocks, 4, shape.block_size, shape.kv_heads, width * dtype.itemsize)
    # Bytes of which every format of floats, and a scale, is not-a-number.
    _, keys, values, _ = torch.full(size, 0xFF, dtype=torch.uint8).view(dtype).unbind(1)
    for row, context in enumerate(metadata.context_lens):
        positions = torch.arange(context)
        blocks = metadata.block_table[row, positions // shape.block_size]
        for cache in (keys, values):
            rows = torch.randn(context, shape.kv_heads, shape.dim)
            stored = quantize(rows, dtype) if is_quantized(dtype) else rows.to(dtype)
            cache[blocks, positions % shape.block_size] = stored
    return keys, values


def exact_heads(cache: Tensor, dim: int) -> Tensor:
    """What a cache holds, in float64; zeros for what is not-a-number."""
    values = cache[..., :dim].double()
    if is_quantized(cache.dtype):
        values = values * cache[..., -4:].view(torch.float32).double()
    return values.nan_to_num()
