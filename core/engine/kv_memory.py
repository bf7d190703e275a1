"""The tensors of the paged KV cache."""

from __future__ import annotations

import torch

from ..interfaces import KVCacheSpec, KVLayer
from .device import allocate_zeros
from .memory_toucher import MemoryToucher

_AHEAD_BYTES = 64 << 20


class KVMemory:
    """What all layers hold of a block lies together, so that memory is first used block by block,
    and not by each layer in pages of its own."""

    def __init__(
        self,
        spec: KVCacheSpec,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        block = (spec.num_layers, 2, block_size, spec.num_kv_heads, spec.head_dim)
        memory = allocate_zeros((num_blocks, *block), dtype, device)
        self._block_bytes = memory[0].nbytes
        self._toucher = MemoryToucher(memory) if device.type == "cpu" else None
        self.layers = [KVLayer(*memory[:, layer].unbind(1)) for layer in range(spec.num_layers)]
        self.expect(0)

    def expect(self, num_blocks: int) -> None:
        """Blocks up to this number are in use; those after them will be next."""
        if self._toucher is not None:
            self._toucher.touch(num_blocks * self._block_bytes + _AHEAD_BYTES)
