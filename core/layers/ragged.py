"""Ragged batches: images of different lengths, computed in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..contracts.interfaces import VisionEncoder


def apply_batched(function: Callable[[Tensor], Tensor], parts: Iterable[Tensor]) -> list[Tensor]:
    """Results of a function of rows for each part, in one call: [rows, …] -> as many rows."""
    parts = list(parts)
    return list(torch.split(function(torch.cat(parts)), [len(part) for part in parts]))


def encode_stacked(tower: VisionEncoder, images: Iterable[Tensor]) -> Tensor:
    """Images of one shape, such as tiles -> [num_images, num_tokens, hidden_size]."""
    return torch.stack(tuple(tower(tuple(images))))


def attend_within(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int]) -> Tensor:
    """Attention within runs of tokens, each of which sees its whole run and nothing else.

    query, key, value: [num_tokens, heads, head_dim]; lengths: of the runs, one after the other.
    """
    attended, start = [], 0
    for length, same in groupby(lengths):
        count = len(list(same))
        rows = slice(start, start + count * length)
        q, k, v = (
            x[rows].reshape(count, length, *x.shape[1:]).transpose(1, 2)
            for x in (query, key, value)
        )
        attended.append(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1))
        start = rows.stop
    return torch.cat(attended)
