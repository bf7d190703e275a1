"""Single operations, for layers that no prepared decoder runs."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from ..kv_format import is_quantized
from ..ops import AttentionMetadata
from .library import AttentionStruct
from .load import load_library
from .metadata import (
    CACHE_TYPES,
    batch_struct,
    check_caches,
    check_dtype,
    check_indices,
    check_shape,
    check_tables,
    raise_fault,
)

_library = load_library()


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    metadata: AttentionMetadata,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> Tensor:
    """See `kernels.ops.PagedAttention`. Raises ValueError for what doesn't fit together."""
    query = query.contiguous()
    output = torch.empty_like(query)
    if not len(query):
        return output
    check_dtype("query", query)
    check_caches(key_cache, value_cache, key_cache.shape[2], query.shape[2])
    if len(query) != len(metadata.slot_mapping) or query.shape[1] % key_cache.shape[2]:
        raise ValueError(
            f"query is {list(query.shape)} for {len(metadata.slot_mapping)} tokens in slot_mapping "
            f"and {key_cache.shape[2]} heads in key_cache"
        )
    shape = AttentionStruct(
        query.shape[1],
        key_cache.shape[2],
        query.shape[2],
        scale,
        softcap,
        window,
        _is_bf16(query),
    )
    batch = batch_struct(metadata, key_cache)
    fault = _library.octavo_paged_attention(
        ctypes.byref(batch),
        ctypes.byref(shape),
        query.data_ptr(),
        key_cache.data_ptr(),
        value_cache.data_ptr(),
        output.data_ptr(),
        _is_bf16(query),
        torch.get_num_threads(),
    )
    raise_fault(fault)
    return output


def write_kv(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """See `kernels.ops.WriteKV`. Raises ValueError for what doesn't fit together."""
    check_indices("slot_mapping", slot_mapping, len(key))
    num_kv_heads, head_dim = key.shape[-2:]
    for name, new in (("key", key), ("value", value)):
        check_shape(name, new, (len(slot_mapping), num_kv_heads, head_dim))
    check_caches(key_cache, value_cache, num_kv_heads, head_dim)
    for name, new, cache in (("key", key, key_cache), ("value", value, value_cache)):
        if is_quantized(cache.dtype):
            check_dtype(name, new)
            rows = _quantize(new, cache)
        else:
            rows = new.to(cache.dtype).contiguous()
        size = cache.element_size()
        written = _library.octavo_scatter(
            rows.data_ptr(),
            slot_mapping.data_ptr(),
            len(rows),
            cache[0, 0].nbytes,
            cache.shape[0] * cache.shape[1],
            cache.shape[1],
            cache.stride(0) * size,
            cache.stride(1) * size,
            cache.data_ptr(),
        )
        if not written:
            raise ValueError("slot_mapping names a slot that the cache doesn't have")


def _quantize(heads: Tensor, cache: Tensor) -> Tensor:
    """Heads [num_tokens, num_kv_heads, head_dim] as a quantised cache holds them."""
    heads = heads.contiguous()
    rows = torch.empty(len(heads), *cache.shape[2:], dtype=cache.dtype)
    _library.octavo_encode_heads(
        heads.data_ptr(),
        heads.shape[0] * heads.shape[1],
        heads.shape[2],
        CACHE_TYPES[cache.dtype],
        rows.data_ptr(),
        _is_bf16(heads),
        torch.get_num_threads(),
    )
    return rows


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """See `kernels.ops.RMSNorm`."""
    x = x.contiguous()
    output = torch.empty_like(x)
    _norm(x, None, weight, eps, output, None)
    return output


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See `kernels.ops.AddRMSNorm`."""
    x, residual = x.contiguous(), residual.contiguous()
    output, summed = torch.empty_like(x), torch.empty_like(x)
    _norm(x, residual, weight, eps, output, summed)
    return output, summed


def rotary_embedding(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See `kernels.ops.RotaryEmbedding`. Raises ValueError for what doesn't fit together."""
    check_dtype("x", x)
    check_tables((cos, sin), len(x), x.shape[2])
    x = x.contiguous()
    output = torch.empty_like(x)
    cos, sin = cos.float().contiguous(), sin.float().contiguous()
    _library.octavo_rotate(
        x.data_ptr(),
        cos.data_ptr(),
        sin.data_ptr(),
        *x.shape,
        cos.shape[1],
        output.data_ptr(),
        _is_bf16(x),
        torch.get_num_threads(),
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
    write_kv(rotary_embedding(key, cos, sin), value, key_cache, value_cache, slot_mapping)
    return rotary_embedding(query, cos, sin)


def silu_and_mul(gate: Tensor, up: Tensor) -> Tensor:
    """See `kernels.ops.GatedActivation`."""
    return _gate(gate, up, 0)


def gelu_tanh_and_mul(gate: Tensor, up: Tensor) -> Tensor:
    """See `kernels.ops.GatedActivation`."""
    return _gate(gate, up, 1)


def _norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    eps: float,
    output: Tensor,
    summed: Tensor | None,
) -> None:
    check_dtype("x", x)
    check_shape("weight", weight, (x.shape[-1],))
    if residual is not None:
        check_shape("residual", residual, tuple(x.shape))
    if residual is not None and residual.dtype is not x.dtype:
        raise ValueError(f"residual is {residual.dtype} and x {x.dtype}")
    weight = weight.float().contiguous()
    _library.octavo_norm(
        x.data_ptr(),
        None if residual is None else residual.data_ptr(),
        weight.data_ptr(),
        eps,
        x.numel() // x.shape[-1],
        x.shape[-1],
        output.data_ptr(),
        None if summed is None else summed.data_ptr(),
        _is_bf16(x),
        torch.get_num_threads(),
    )


def _gate(gate: Tensor, up: Tensor, activation: int) -> Tensor:
    check_dtype("gate", gate)
    check_shape("up", up, tuple(gate.shape))
    if up.dtype is not gate.dtype:
        raise ValueError(f"up is {up.dtype} and gate {gate.dtype}")
    gate, up = gate.contiguous(), up.contiguous()
    output = torch.empty_like(gate)
    _library.octavo_gate(
        gate.data_ptr(),
        up.data_ptr(),
        gate.numel(),
        activation,
        output.data_ptr(),
        _is_bf16(gate),
        torch.get_num_threads(),
    )
    return output


def _is_bf16(x: Tensor) -> int:
    return int(x.dtype is torch.bfloat16)
