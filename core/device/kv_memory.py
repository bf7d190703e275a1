"""The tensors of the paged KV cache."""

from __future__ import annotations

import torch

from ...kernels.kv_format import head_width
from ..contracts.interfaces import KVCacheSpec, KVLayer
from .device import allocate_zeros

#: Enough for the first hundreds of tokens of a small model.
_TOUCHED_BYTES = 16 << 20


def allocate_kv_cache(
    spec: KVCacheSpec, num_blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
) -> list[KVLayer]:
    """Zeros for each layer, as `kernels.kv_format` has it. What all layers hold of a block lies
    together, so that memory is first used block by block, and not by every layer at once in pages
    of its own; the first pages are made here, as the first requests would wait for that."""
    width = head_width(dtype, spec.head_dim)
    block = (spec.num_layers, 2, block_size, spec.num_kv_heads, width)
    memory = allocate_zeros((num_blocks, *block), dtype, device)
    memory.view(-1)[: _TOUCHED_BYTES // dtype.itemsize].fill_(0)
    return [KVLayer(*memory[:, layer].unbind(1)) for layer in range(spec.num_layers)]
