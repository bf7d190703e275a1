"""A step's AttentionMetadata as the C++ code reads it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops import AttentionMetadata
from .library import BatchStruct


def batch_struct(metadata: AttentionMetadata, key_cache: Tensor) -> BatchStruct:
    """It points into the metadata's tensors, which must outlive it."""
    runs = metadata.bidirectional
    return BatchStruct(
        num_tokens=len(metadata.slot_mapping),
        num_seqs=len(metadata.query_lens),
        query_start_loc=metadata.query_start_loc.data_ptr(),
        seq_lens=metadata.seq_lens.data_ptr(),
        block_table=metadata.block_table.data_ptr(),
        slot_mapping=metadata.slot_mapping.data_ptr(),
        bidirectional=None if runs is None else runs.data_ptr(),
        max_blocks=metadata.block_table.stride(0),
        block_stride=key_cache.stride(0),
        row_stride=key_cache.stride(1),
        block_size=key_cache.shape[1],
        narrow_cache=int(key_cache.dtype is torch.bfloat16),
    )
