"""Rotary position embedding, alone or together with the KV cache's update."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..kv_format import is_quantized
from .kv_cache import copy_heads, slot_offset, write_kv
from .layout import check_caches, dense

#: Elements of a head's half that one program holds, over all its heads.
_TILE = 1024


def rotary_embedding(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See `kernels.ops.RotaryEmbedding`."""
    num_tokens, num_heads, _ = x.shape
    x, cos, sin = dense(x), dense(cos), dense(sin)
    output = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if num_tokens:
        shape = _tile_shape(num_heads, x.shape[-1], cos.shape[-1])
        _rotary_kernel[(num_tokens, triton.cdiv(num_heads, shape["block_heads"]))](
            x, output, cos, sin, *x.stride()[:2], cos.stride(0), sin.stride(0), num_heads, **shape
        )
    return output


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
    num_tokens, num_heads, head_dim = query.shape
    check_caches(key_cache, value_cache)
    if is_quantized(key_cache.dtype):  # a head's scale must be known before any of it is stored
        write_kv(rotary_embedding(key, cos, sin), value, key_cache, value_cache, slot_mapping)
        return rotary_embedding(query, cos, sin)
    query, key, value, cos, sin = (dense(x) for x in (query, key, value, cos, sin))
    output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    if num_tokens:
        num_kv_heads = key.shape[1]
        shape = _tile_shape(num_kv_heads, head_dim, cos.shape[-1])
        query_blocks = triton.cdiv(num_heads, shape["block_heads"])
        kv_blocks = triton.cdiv(num_kv_heads, shape["block_heads"])
        _rotary_write_kv_kernel[(num_tokens, query_blocks + kv_blocks)](
            query,
            key,
            value,
            output,
            cos,
            sin,
            key_cache,
            value_cache,
            slot_mapping.contiguous(),
            *query.stride()[:2],
            *key.stride()[:2],
            *value.stride()[:2],
            cos.stride(0),
            sin.stride(0),
            *key_cache.stride()[:3],
            *value_cache.stride()[:3],
            num_heads,
            num_kv_heads,
            query_blocks,
            block_size=key_cache.shape[1],
            **shape,
        )
    return output


def _tile_shape(num_heads: int, head_dim: int, rotary_dim: int) -> dict[str, int]:
    """The compile-time sizes that both kernels share; block_half and block_rest are padded."""
    block_half = triton.next_power_of_2(rotary_dim // 2)
    rest = head_dim - rotary_dim
    return {
        "head_dim": head_dim,
        "rotary_dim": rotary_dim,
        "block_heads": min(triton.next_power_of_2(num_heads), max(1, _TILE // block_half)),
        "block_half": block_half,
        "block_rest": triton.next_power_of_2(rest) if rest else 0,
    }


@triton.jit
def _rotate(
    x,
    output,
    stride_head: tl.constexpr,
    output_stride_head: tl.constexpr,
    cos,
    sin,
    heads,
    num_heads,
    head_dim: tl.constexpr,
    rotary_dim: tl.constexpr,
    block_half: tl.constexpr,
    block_rest: tl.constexpr,
):
    """Rotate some heads of one token from x to output; cos and sin point to the token's row."""
    half: tl.constexpr = rotary_dim // 2
    dims = tl.arange(0, block_half)[None, :]
    head_inside = heads[:, None] < num_heads
    dim_inside = dims < half
    inside = head_inside & dim_inside
    x += heads[:, None] * stride_head
    output += heads[:, None] * output_stride_head
    first = tl.load(x + dims, mask=inside).to(tl.float32)
    second = tl.load(x + half + dims, mask=inside).to(tl.float32)
    first_cos = tl.load(cos + dims, mask=dim_inside).to(tl.float32)
    second_cos = tl.load(cos + half + dims, mask=dim_inside).to(tl.float32)
    first_sin = tl.load(sin + dims, mask=dim_inside).to(tl.float32)
    second_sin = tl.load(sin + half + dims, mask=dim_inside).to(tl.float32)
    tl.store(output + dims, first * first_cos - second * first_sin, mask=inside)
    tl.store(output + half + dims, second * second_cos + first * second_sin, mask=inside)
    if block_rest > 0:
        rest = rotary_dim + tl.arange(0, block_rest)[None, :]
        rest_inside = head_inside & (rest < head_dim)
        tl.store(output + rest, tl.load(x + rest, mask=rest_inside), mask=rest_inside)


@triton.jit
def _rotary_kernel(
    x,
    output,
    cos,
    sin,
    stride_token: tl.constexpr,
    stride_head: tl.constexpr,
    cos_stride: tl.constexpr,
    sin_stride: tl.constexpr,
    num_heads,
    head_dim: tl.constexpr,
    rotary_dim: tl.constexpr,
    block_heads: tl.constexpr,
    block_half: tl.constexpr,
    block_rest: tl.constexpr,
):
    """One program rotates block_heads heads of one token. The output is contiguous."""
    token = tl.program_id(0).to(tl.int64)
    heads = tl.program_id(1) * block_heads + tl.arange(0, block_heads)
    _rotate(
        x + token * stride_token,
        output + token * num_heads * head_dim,
        stride_head,
        head_dim,
        cos + token * cos_stride,
        sin + token * sin_stride,
        heads,
        num_heads,
        head_dim,
        rotary_dim,
        block_half,
        block_rest,
    )


@triton.jit
def _rotary_write_kv_kernel(
    query,
    key,
    value,
    output,
    cos,
    sin,
    key_cache,
    value_cache,
    slot_mapping,
    query_stride_token: tl.constexpr,
    query_stride_head: tl.constexpr,
    key_stride_token: tl.constexpr,
    key_stride_head: tl.constexpr,
    value_stride_token: tl.constexpr,
    value_stride_head: tl.constexpr,
    cos_stride: tl.constexpr,
    sin_stride: tl.constexpr,
    key_stride_block: tl.constexpr,
    key_stride_position: tl.constexpr,
    key_stride_cache_head: tl.constexpr,
    value_stride_block: tl.constexpr,
    value_stride_position: tl.constexpr,
    value_stride_cache_head: tl.constexpr,
    num_heads,
    num_kv_heads,
    query_blocks,
    block_size: tl.constexpr,
    head_dim: tl.constexpr,
    rotary_dim: tl.constexpr,
    block_heads: tl.constexpr,
    block_half: tl.constexpr,
    block_rest: tl.constexpr,
):
    """One program has block_heads heads of one token: the first query_blocks programs of a token
    rotate its query, the others rotate its key into the cache and copy its value there."""
    token = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    cos += token * cos_stride
    sin += token * sin_stride
    if block < query_blocks:
        _rotate(
            query + token * query_stride_token,
            output + token * num_heads * head_dim,
            query_stride_head,
            head_dim,
            cos,
            sin,
            block * block_heads + tl.arange(0, block_heads),
            num_heads,
            head_dim,
            rotary_dim,
            block_half,
            block_rest,
        )
    else:
        heads = (block - query_blocks) * block_heads + tl.arange(0, block_heads)
        slot = tl.load(slot_mapping + token)
        _rotate(
            key + token * key_stride_token,
            key_cache + slot_offset(slot, key_stride_block, key_stride_position, block_size),
            key_stride_head,
            key_stride_cache_head,
            cos,
            sin,
            heads,
            num_kv_heads,
            head_dim,
            rotary_dim,
            block_half,
            block_rest,
        )
        copy_heads(
            value + token * value_stride_token,
            value_stride_head,
            value_cache + slot_offset(slot, value_stride_block, value_stride_position, block_size),
            value_stride_cache_head,
            heads,
            num_kv_heads,
            head_dim,
        )
