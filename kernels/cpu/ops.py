"""Single operations, for layers that no prepared decoder runs."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from ..ops import AttentionMetadata
from .library import AttentionStruct, load_library
from .metadata import batch_struct

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
    """See `kernels.ops.PagedAttention`."""
    query = query.contiguous()
    output = torch.empty_like(query)
    if not len(query):
        return output
    shape = AttentionStruct(
        query.shape[1],
        key_cache.shape[2],
        query.shape[2],
        scale,
        softcap,
        window,
        _narrow(query),
    )
    batch = batch_struct(metadata, key_cache)
    _library.octavo_paged_attention(
        ctypes.byref(batch),
        ctypes.byref(shape),
        query.data_ptr(),
        key_cache.data_ptr(),
        value_cache.data_ptr(),
        output.data_ptr(),
        _narrow(query),
        torch.get_num_threads(),
    )
    return output


def write_kv(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """See `kernels.ops.WriteKV`."""
    for new, cache in ((key, key_cache), (value, value_cache)):
        rows = new.to(cache.dtype).contiguous()
        size = cache.element_size()
        _library.octavo_scatter(
            rows.data_ptr(),
            slot_mapping.data_ptr(),
            len(rows),
            cache[0, 0].nbytes,
            cache.shape[1],
            cache.stride(0) * size,
            cache.stride(1) * size,
            cache.data_ptr(),
        )


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
    """See `kernels.ops.RotaryEmbedding`."""
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
        _narrow(x),
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
        _narrow(x),
        torch.get_num_threads(),
    )


def _gate(gate: Tensor, up: Tensor, activation: int) -> Tensor:
    gate, up = gate.contiguous(), up.contiguous()
    output = torch.empty_like(gate)
    _library.octavo_gate(
        gate.data_ptr(),
        up.data_ptr(),
        gate.numel(),
        activation,
        output.data_ptr(),
        _narrow(gate),
        torch.get_num_threads(),
    )
    return output


def _narrow(x: Tensor) -> int:
    return int(x.dtype is torch.bfloat16)
