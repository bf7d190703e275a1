"""Writing keys and values into the paged cache."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .layout import check_caches, dense


def write_kv(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """See `kernels.ops.WriteKV`."""
    num_tokens, num_heads, head_dim = key.shape
    check_caches(key_cache, value_cache)
    if not num_tokens:
        return
    key, value = dense(key), dense(value)
    _write_kv_kernel[(num_tokens,)](
        key,
        value,
        key_cache,
        value_cache,
        slot_mapping.contiguous(),
        *key.stride()[:2],
        *value.stride()[:2],
        *key_cache.stride()[:3],
        *value_cache.stride()[:3],
        num_heads=num_heads,
        head_dim=head_dim,
        block_size=key_cache.shape[1],
        block_heads=triton.next_power_of_2(num_heads),
    )


@triton.jit
def slot_offset(slot, stride_block, stride_position, block_size: tl.constexpr):
    """Offset of a slot in the paged cache, in elements; slot is int64."""
    return slot // block_size * stride_block + slot % block_size * stride_position


@triton.jit
def copy_heads(
    source, source_stride, target, target_stride, heads, num_heads, head_dim: tl.constexpr
):
    """Copy some heads of one token; heads beyond num_heads are left out."""
    block_dim: tl.constexpr = triton.next_power_of_2(head_dim)
    dims = tl.arange(0, block_dim)[None, :]
    heads = heads[:, None]
    inside = (heads < num_heads) & (dims < head_dim)
    values = tl.load(source + heads * source_stride + dims, mask=inside)
    tl.store(target + heads * target_stride + dims, values, mask=inside)


@triton.jit
def _write_kv_kernel(
    key,
    value,
    key_cache,
    value_cache,
    slot_mapping,
    key_stride_token: tl.constexpr,
    key_stride_head: tl.constexpr,
    value_stride_token: tl.constexpr,
    value_stride_head: tl.constexpr,
    key_stride_block: tl.constexpr,
    key_stride_position: tl.constexpr,
    key_stride_cache_head: tl.constexpr,
    value_stride_block: tl.constexpr,
    value_stride_position: tl.constexpr,
    value_stride_cache_head: tl.constexpr,
    num_heads: tl.constexpr,
    head_dim: tl.constexpr,
    block_size: tl.constexpr,
    block_heads: tl.constexpr,
):
    """One program copies the key and the value of one token, all heads."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slot_mapping + token)
    heads = tl.arange(0, block_heads)
    copy_heads(
        key + token * key_stride_token,
        key_stride_head,
        key_cache + slot_offset(slot, key_stride_block, key_stride_position, block_size),
        key_stride_cache_head,
        heads,
        num_heads,
        head_dim,
    )
    copy_heads(
        value + token * value_stride_token,
        value_stride_head,
        value_cache + slot_offset(slot, value_stride_block, value_stride_position, block_size),
        value_stride_cache_head,
        heads,
        num_heads,
        head_dim,
    )
