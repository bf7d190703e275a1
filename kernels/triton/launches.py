"""Launches whose registers and shared memory are reported: ops called on tensors without memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..dtypes import dtype_name
from ..kv_format import head_width
from ..ops import AttentionMetadata, QuantizedFormat, QuantizedWeight
from .activation import gelu_tanh_and_mul, silu_and_mul
from .attention import paged_attention
from .kv_cache import write_kv
from .linear import dequant_linear
from .masking import mask_tokens
from .norm import add_rms_norm, rms_norm
from .rotary import rotary_embedding, rotary_write_kv
from .sampling import sample_top_k_top_p


@dataclass(frozen=True)
class Launch:
    """One call of an op.

    op: its name.
    shape: human-readable description of the call.
    call: makes it, on tensors of the device "meta".
    """

    op: str
    shape: str
    call: Callable[[], object]


def server_launches() -> Iterator[Launch]:
    """Every op as layers of models with 576 to 8,192 features would call it, in bfloat16."""
    for head_dim, heads, kv_heads in ((64, 9, 3), (72, 16, 16), (128, 32, 8), (256, 8, 1)):
        yield from _attention(head_dim, heads, kv_heads)
    yield from _attention(64, 9, 3, torch.float32)
    for cache_dtype in (torch.int8, torch.float8_e4m3fn):
        yield from _attention(128, 32, 8, cache_dtype=cache_dtype)
        yield _write(128, 8, cache_dtype)
    for head_dim, heads, kv_heads in ((64, 9, 3), (128, 32, 8)):
        yield from _rotary(head_dim, heads, kv_heads)
    for hidden in (576, 4096, 8192):
        yield from _norms(hidden)
    yield from _activations(14336)
    yield from _linear("int8", 4096)
    yield from _linear("int8", 64)
    yield from _linear("int4", 64)
    yield from _linear("fp8", 4096)
    yield from _sampling(128256)


def _tensor(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _attention(
    head_dim: int,
    heads: int,
    kv_heads: int,
    dtype: torch.dtype = torch.bfloat16,
    cache_dtype: torch.dtype | None = None,
) -> Iterator[Launch]:
    cache = _cache(kv_heads, head_dim, cache_dtype or dtype)
    shape = f"heads {heads}/{kv_heads} of {head_dim}{_suffix(cache_dtype or dtype)}"
    for kind, query_lens, context in (
        ("decode, one split", (1,) * 32, 200),
        ("decode, many splits", (1,) * 32, 4096),
        ("prefill", (2048,), 4096),
    ):
        query = _tensor(sum(query_lens), heads, head_dim, dtype=dtype)
        metadata = _metadata(query_lens, context, runs=False)
        yield _attend(f"{kind}, {shape}", query, cache, metadata)
    if head_dim == 128:
        runs = _metadata((2048,), 4096, runs=True)
        query = _tensor(2048, heads, head_dim, dtype=dtype)
        yield _attend(f"prefill, all options, {shape}", query, cache, runs, 1024, 50.0)


def _cache(kv_heads: int, head_dim: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return _tensor(4096, 16, kv_heads, head_width(dtype, head_dim), dtype=dtype)


def _write(head_dim: int, kv_heads: int, cache_dtype: torch.dtype) -> Launch:
    """A quantised cache's; of a plain one, see _rotary."""
    key, cache = _tensor(32, kv_heads, head_dim), _cache(kv_heads, head_dim, cache_dtype)
    slots = _tensor(32, dtype=torch.int64)
    return Launch(
        "write_kv",
        f"heads {kv_heads} of {head_dim}{_suffix(cache_dtype)}",
        partial(write_kv, key, key, cache, cache, slots),
    )


def _attend(
    shape: str,
    query: Tensor,
    cache: Tensor,
    metadata: AttentionMetadata,
    window: int = 0,
    softcap: float = 0.0,
) -> Launch:
    return Launch(
        "paged_attention",
        shape,
        partial(paged_attention, query, cache, cache, metadata, 0.1, window, softcap),
    )


def _metadata(query_lens: tuple[int, ...], context: int, runs: bool) -> AttentionMetadata:
    num_seqs, num_tokens = len(query_lens), sum(query_lens)
    return AttentionMetadata(
        query_start_loc=_tensor(num_seqs + 1, dtype=torch.int64),
        seq_lens=_tensor(num_seqs, dtype=torch.int64),
        block_table=_tensor(num_seqs, context // 16, dtype=torch.int64),
        slot_mapping=_tensor(num_tokens, dtype=torch.int64),
        query_lens=query_lens,
        context_lens=(context,) * num_seqs,
        bidirectional=_tensor(num_tokens, 2, dtype=torch.int64) if runs else None,
    )


def _rotary(head_dim: int, heads: int, kv_heads: int) -> Iterator[Launch]:
    query, key = _tensor(32, heads, head_dim), _tensor(32, kv_heads, head_dim)
    cache = _cache(kv_heads, head_dim)
    slots = _tensor(32, dtype=torch.int64)
    shape = f"heads {heads}/{kv_heads} of {head_dim}"
    for rotary_dim in (head_dim, head_dim // 2):
        angles = _tensor(32, rotary_dim)
        turned = f"{shape}, {rotary_dim} rotated"
        yield Launch(
            "rotary_embedding",
            turned,
            partial(rotary_embedding, query, angles, angles),
        )
        yield Launch(
            "rotary_write_kv",
            turned,
            partial(rotary_write_kv, query, key, key, angles, angles, cache, cache, slots),
        )
    yield Launch("write_kv", shape, partial(write_kv, key, key, cache, cache, slots))


def _norms(hidden: int) -> Iterator[Launch]:
    x, weight = _tensor(32, hidden), _tensor(hidden)
    yield Launch("rms_norm", f"{hidden} wide", partial(rms_norm, x, weight, 1e-5))
    yield Launch("add_rms_norm", f"{hidden} wide", partial(add_rms_norm, x, x, weight, 1e-5))


def _activations(width: int) -> Iterator[Launch]:
    gate = _tensor(32, width)
    yield Launch("silu_and_mul", f"{width} wide", partial(silu_and_mul, gate, gate))
    yield Launch("gelu_tanh_and_mul", f"{width} wide", partial(gelu_tanh_and_mul, gate, gate))


def _linear(quantized_format: QuantizedFormat, group_size: int) -> Iterator[Launch]:
    features = 4096
    dtype = {"int8": torch.int8, "int4": torch.uint8, "fp8": torch.float8_e4m3fn}[quantized_format]
    packed = features // 2 if quantized_format == "int4" else features
    scale = _tensor(features, features // group_size, dtype=torch.float32)
    zero = scale if quantized_format == "int4" else None
    data = _tensor(features, packed, dtype=dtype)
    weight = QuantizedWeight(quantized_format, data, scale, zero, group_size)
    groups = f"groups of {group_size}" if group_size < features else "one scale a channel"
    for rows in (1, 32, 2048):
        x = _tensor(rows, features)
        shape = f"{quantized_format}, {groups}, {rows} row{'s' if rows > 1 else ''}"
        yield Launch("dequant_linear", shape, partial(dequant_linear, x, weight))


def _sampling(vocab_size: int) -> Iterator[Launch]:
    logits = _tensor(32, vocab_size, dtype=torch.float32)
    row = _tensor(32, dtype=torch.float32)
    top_k = _tensor(32, dtype=torch.int64)
    yield Launch(
        "sample_top_k_top_p",
        f"vocabulary of {vocab_size}",
        partial(sample_top_k_top_p, logits, row, top_k, row, row),
    )
    bitmask = _tensor(32, -(-vocab_size // 32), dtype=torch.int32)
    yield Launch(
        "mask_tokens",
        f"vocabulary of {vocab_size}",
        partial(mask_tokens, logits, top_k, bitmask),
    )


def _suffix(dtype: torch.dtype) -> str:
    return "" if dtype is torch.bfloat16 else f", {dtype_name(dtype)}"
