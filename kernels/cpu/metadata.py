"""AttentionMetadata of a step as a C++ struct, and checks of arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dtypes import dtype_name
from ..kv_format import head_width
from ..ops import AttentionMetadata
from .library import BatchStruct

#: src/cache_element.h: CacheType.
CACHE_TYPES = {
    torch.float32: 0,
    torch.bfloat16: 1,
    torch.int8: 2,
    torch.float8_e4m3fn: 3,
}


def batch_struct(metadata: AttentionMetadata, key_cache: Tensor) -> BatchStruct:
    """Struct that points into the metadata's tensors, which must outlive it.

    Raises ValueError for tensors of other sizes than AttentionMetadata gives them. Their values are
    checked by the C++ code.
    """
    runs, table = metadata.bidirectional, metadata.block_table
    num_tokens, num_seqs = len(metadata.slot_mapping), len(metadata.query_lens)
    check_indices("query_start_loc", metadata.query_start_loc, num_seqs + 1)
    check_indices("seq_lens", metadata.seq_lens, num_seqs)
    check_indices("slot_mapping", metadata.slot_mapping, num_tokens)
    check_indices("block_table", table, num_seqs)
    if table.ndim != 2:
        raise ValueError(f"block_table is {list(table.shape)} instead of [{num_seqs}, max_blocks]")
    if runs is not None:
        check_indices("bidirectional", runs, num_tokens)
        check_shape("bidirectional", runs, (num_tokens, 2))
    return BatchStruct(
        num_tokens=num_tokens,
        num_seqs=num_seqs,
        query_start_loc=metadata.query_start_loc.data_ptr(),
        seq_lens=metadata.seq_lens.data_ptr(),
        block_table=table.data_ptr(),
        slot_mapping=metadata.slot_mapping.data_ptr(),
        bidirectional=None if runs is None else runs.data_ptr(),
        table_width=table.shape[1],
        max_blocks=table.stride(0),
        num_blocks=key_cache.shape[0],
        block_stride=key_cache.stride(0),
        row_stride=key_cache.stride(1),
        block_size=key_cache.shape[1],
        cache_type=CACHE_TYPES[key_cache.dtype],
    )


def check_caches(key_cache: Tensor, value_cache: Tensor, num_kv_heads: int, head_dim: int) -> None:
    """Raises ValueError for a layer's caches of another shape or layout than the kernels read."""
    for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
        if cache.dtype not in CACHE_TYPES:
            known = ", ".join(map(dtype_name, CACHE_TYPES))
            raise ValueError(f"{name} is {cache.dtype}; the CPU kernels take {known}")
        width = head_width(cache.dtype, head_dim)
        if cache.ndim != 4 or cache.shape[2:] != (num_kv_heads, width):
            raise ValueError(
                f"{name} is {list(cache.shape)} instead of "
                f"[num_blocks, block_size, {num_kv_heads}, {width}]"
            )
        if cache.stride()[2:] != (width, 1):
            raise ValueError(f"{name}: the heads of a position are not contiguous")
    if (key_cache.shape, key_cache.stride(), key_cache.dtype) != (
        *(value_cache.shape, value_cache.stride(), value_cache.dtype),
    ):
        raise ValueError("key_cache and value_cache are not of one shape, strides and dtype")


def check_indices(name: str, indices: Tensor, length: int) -> None:
    """Raises ValueError unless indices are a contiguous int64 tensor [length, …] on the CPU."""
    if len(indices) != length:
        raise ValueError(f"{name} has {len(indices)} entries instead of {length}")
    if indices.dtype is not torch.int64 or indices.is_cuda or not indices.is_contiguous():
        raise ValueError(f"{name} is not a contiguous tensor of int64 on the CPU")


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raises ValueError for another shape."""
    if tensor.shape != shape:
        raise ValueError(f"{name} is {list(tensor.shape)} instead of {list(shape)}")


def check_tables(rotary: tuple[Tensor, Tensor], num_tokens: int, head_dim: int) -> None:
    """Raises ValueError unless cos and sin are [num_tokens, width] for an even width that a head
    has."""
    cos, sin = rotary
    check_shape("sin", sin, tuple(cos.shape))
    if cos.ndim != 2 or len(cos) != num_tokens or cos.shape[1] > head_dim or cos.shape[1] % 2:
        raise ValueError(
            f"cos is {list(cos.shape)} instead of [{num_tokens}, an even number up to {head_dim}]"
        )


def check_dtype(name: str, tensor: Tensor) -> None:
    """Raises ValueError for a dtype other than float32 and bfloat16."""
    if tensor.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"{name} is {tensor.dtype}; the CPU kernels take float32 and bfloat16")


def raise_fault(fault: bytes | None) -> None:
    """Raises ValueError with the C++ code's error message, if there is one."""
    if fault is not None:
        raise ValueError(fault.decode())
