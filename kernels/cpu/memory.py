"""Allocator of packed weights in huge pages, where the system has them: each step reads all
of it, and small pages would miss the TLB."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

#: Array size from which on NumPy asks the system for huge pages.
_CHUNK = 32 << 20
_HUGE_PAGE = 2 << 20
_LINE = 64


class WeightMemory:
    """Arena of large chunks. A chunk is freed with the last tensor in it; pages that were never
    written to take no memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunk = torch.empty(0, dtype=torch.uint8)

    def allocate(self, num_bytes: int) -> Tensor:
        """uint8 [num_bytes], uninitialised, that begins at a cache line."""
        size = -(-num_bytes // _LINE) * _LINE
        with self._lock:
            if size > len(self._chunk):
                self._chunk = _new_chunk(max(size, _CHUNK))
            part, self._chunk = self._chunk[:num_bytes], self._chunk[size:]
        return part


def _new_chunk(size: int) -> Tensor:
    memory = torch.from_numpy(np.empty(size + _HUGE_PAGE, dtype=np.uint8))
    start = -memory.data_ptr() % _HUGE_PAGE
    return memory[start : start + size]


weight_memory = WeightMemory()
