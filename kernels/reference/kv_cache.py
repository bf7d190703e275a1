"""Reading and writing of the paged cache in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kv_format import LARGEST_CODE, head_width, is_quantized, scales_of

#: Below this, the inverse of a scale overflows; such heads become zeros.
_SMALLEST = 1e-30


def write_kv(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """See `kernels.ops.WriteKV`."""
    for new, cache in ((key, key_cache), (value, value_cache)):
        block_size = cache.shape[1]
        rows = quantize(new, cache.dtype) if is_quantized(cache.dtype) else new.to(cache.dtype)
        cache[slot_mapping // block_size, slot_mapping % block_size] = rows


def quantize(heads: Tensor, dtype: torch.dtype) -> Tensor:
    """[..., head_dim] -> [..., head_width] in a quantised format; see `kernels.kv_format`. A head
    that is not finite gets a scale that is no number."""
    heads, largest = heads.float(), LARGEST_CODE[dtype]
    top = heads.abs().amax(-1, keepdim=True)
    finite = top.isfinite()
    # A quotient of tensors: of a number and a tensor, torch takes the reciprocal first.
    factor = torch.where(top > _SMALLEST, torch.full_like(top, largest) / top, 0.0)
    codes = torch.where(finite, heads * factor, 0.0)
    head_dim = heads.shape[-1]
    rows = torch.zeros(
        *heads.shape[:-1], head_width(dtype, head_dim), dtype=dtype, device=heads.device
    )
    rows[..., :head_dim] = codes.round().to(dtype) if dtype is torch.int8 else codes.to(dtype)
    scales_of(rows).copy_(torch.where(finite, top / largest, torch.nan)[..., 0])
    return rows


def read_heads(rows: Tensor, head_dim: int, dtype: torch.dtype) -> Tensor:
    """Rows of a cache [..., head_width] -> the heads' values, [..., head_dim] in a dtype."""
    if not is_quantized(rows.dtype):
        return rows.to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    values = rows[..., :head_dim].to(wide) * scales_of(rows)[..., None].to(wide)
    return values.to(dtype)
