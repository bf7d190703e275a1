"""Writing keys and values into the paged cache."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..kv_format import LARGEST_CODE
from .layout import check_caches, codes_and_scales, dense, kv_format


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
        *codes_and_scales(key_cache),
        *codes_and_scales(value_cache),
        slot_mapping.contiguous(),
        *key.stride()[:2],
        *value.stride()[:2],
        *key_cache.stride()[:3],
        *value_cache.stride()[:3],
        num_heads=num_heads,
        head_dim=head_dim,
        block_size=key_cache.shape[1],
        block_heads=triton.next_power_of_2(num_heads),
        format=kv_format(key_cache),
        largest=LARGEST_CODE.get(key_cache.dtype, 0.0),
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
def _nearest_code(x, format: tl.constexpr):
    """float32 numbers up to the format's largest -> bytes of the nearest codes, ties to even."""
    if format == "int8":
        # From this number on, float32 has whole numbers only.
        return ((x + 12582912.0) - 12582912.0).to(tl.int8)
    else:
        bits = x.to(tl.int32, bitcast=True)
        size = bits & 0x7FFFFFFF
        normal = ((size + 0x7FFFF + ((size >> 20) & 1)) >> 20) - (120 << 3)
        # Below 2^-6, codes are 2^-9 apart, as numbers are from 2^14 on in float32.
        small = (tl.abs(x) + 16384.0).to(tl.int32, bitcast=True) - 0x46800000
        code = tl.where(size < (121 << 23), small, normal)
        return (code | ((bits >> 24) & 128)).to(tl.uint8)


@triton.jit
def quantize_heads(
    source,
    source_stride,
    target,
    scales,
    target_stride,
    heads,
    num_heads,
    head_dim: tl.constexpr,
    format: tl.constexpr,
    largest: tl.constexpr,
):
    """Quantise some heads of one token; see `kernels.reference.kv_cache.quantize`. scales: pointer
    to the first head's; heads beyond num_heads are left out."""
    padded: tl.constexpr = (head_dim + 3) // 4 * 4
    block_dim: tl.constexpr = triton.next_power_of_2(padded)
    dims = tl.arange(0, block_dim)[None, :]
    offsets = heads[:, None]
    inside = offsets < num_heads
    values = tl.load(
        source + offsets * source_stride + dims, mask=inside & (dims < head_dim), other=0.0
    ).to(tl.float32)
    known = tl.abs(values) < float("inf")
    finite = tl.sum(tl.where(known, 0, 1), axis=1) == 0
    values = tl.where(known & finite[:, None], values, 0.0)
    top = tl.max(tl.abs(values), axis=1)
    factor = tl.div_rn(top * 0.0 + largest, tl.where(top > 1e-30, top, 1.0))
    codes = _nearest_code(values * tl.where(top > 1e-30, factor, 0.0)[:, None], format)
    tl.store(target + offsets * target_stride + dims, codes, mask=inside & (dims < padded))
    scale = tl.where(finite, tl.div_rn(top, top * 0.0 + largest), float("nan"))
    tl.store(scales + heads * (target_stride // 4), scale, mask=heads < num_heads)


@triton.jit
def store_heads(
    source,
    source_stride,
    target,
    scales,
    offset,
    target_stride: tl.constexpr,
    heads,
    num_heads,
    head_dim: tl.constexpr,
    format: tl.constexpr,
    largest: tl.constexpr,
):
    """Store some heads of one token at an offset of the cache, as it stores them."""
    if scales is None:
        copy_heads(
            source, source_stride, target + offset, target_stride, heads, num_heads, head_dim
        )
    else:
        quantize_heads(
            source,
            source_stride,
            target + offset,
            scales + offset // 4,
            target_stride,
            heads,
            num_heads,
            head_dim,
            format,
            largest,
        )


@triton.jit
def _write_kv_kernel(
    key,
    value,
    key_cache,
    key_scales,
    value_cache,
    value_scales,
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
    format: tl.constexpr,
    largest: tl.constexpr,
):
    """One program stores the key and the value of one token, all heads."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slot_mapping + token)
    heads = tl.arange(0, block_heads)
    store_heads(
        key + token * key_stride_token,
        key_stride_head,
        key_cache,
        key_scales,
        slot_offset(slot, key_stride_block, key_stride_position, block_size),
        key_stride_cache_head,
        heads,
        num_heads,
        head_dim,
        format,
        largest,
    )
    store_heads(
        value + token * value_stride_token,
        value_stride_head,
        value_cache,
        value_scales,
        slot_offset(slot, value_stride_block, value_stride_position, block_size),
        value_stride_cache_head,
        heads,
        num_heads,
        head_dim,
        format,
        largest,
    )
