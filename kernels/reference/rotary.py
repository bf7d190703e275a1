"""Rotary position embedding in plain torch."""

import torch
from torch import Tensor

from .kv_cache import write_kv


def rotary_embedding(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See `kernels.ops.RotaryEmbedding`. Su et al., 2021 (arXiv:2104.09864), halves rotated."""
    rotary_dim = cos.shape[-1]
    rotated, rest = x[..., :rotary_dim], x[..., rotary_dim:]
    first, second = rotated.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    rotated = rotated * cos.unsqueeze(1) + turned * sin.unsqueeze(1)
    return torch.cat((rotated, rest), dim=-1) if rest.shape[-1] else rotated


def rotary_write_kv(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos: Tensor,
    sin: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
) -> Tensor:
    """See `kernels.ops.RotaryWriteKV`."""
    write_kv(rotary_embedding(key, cos, sin), value, key_cache, value_cache, slot_mapping)
    return rotary_embedding(query, cos, sin)
