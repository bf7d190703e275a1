"""Layouts that the kernels read: a contiguous last dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kv_format import is_quantized, scales_of


def dense(x: Tensor) -> Tensor:
    """x, or a copy if the elements of its last dimension lie apart."""
    return x if x.stride(-1) == 1 else x.contiguous()


def rows_of(x: Tensor) -> Tensor:
    """x as [rows, last dimension]; a copy only if no view of it is that, with dense rows."""
    return dense(x.reshape(-1, x.shape[-1]))


def check_caches(key_cache: Tensor, value_cache: Tensor) -> None:
    """Raises ValueError for caches that can't be used in place."""
    for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
        if cache.stride(-1) != 1:
            raise ValueError(
                f"{name}: the elements of a head must be contiguous, but the last of the "
                f"strides {list(cache.stride())} is not 1"
            )


def codes_and_scales(cache: Tensor) -> tuple[Tensor, Tensor | None]:
    """A cache as the kernels take it: itself, or its codes, as int8 or, of float8, as bytes, which
    GPUs before compute capability 8.9 know too, and its scales."""
    if not is_quantized(cache.dtype):
        return cache, None
    codes = cache if cache.dtype is torch.int8 else cache.view(torch.uint8)
    return codes, scales_of(cache)


def kv_format(cache: Tensor) -> str:
    """What a cache's codes are, for `linear_kernels.widen`; "" of plain numbers."""
    return {torch.int8: "int8", torch.float8_e4m3fn: "fp8"}.get(cache.dtype, "")
