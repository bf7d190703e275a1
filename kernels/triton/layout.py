"""Layouts that the kernels read: a contiguous last dimension."""

from __future__ import annotations

from torch import Tensor


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
