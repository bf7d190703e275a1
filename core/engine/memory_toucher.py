"""Asks the system for pages of memory before they are written to."""

from __future__ import annotations

import ctypes
import logging
import os
import threading

from torch import Tensor

logger = logging.getLogger(__name__)

#: madvise's MADV_POPULATE_WRITE, which Linux has since 5.14; Python's mmap doesn't know it.
_POPULATE_WRITE = 23
#: The largest pages that memory may come in, and as much as is asked for in one call.
_PIECE = 2 << 20

_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class MemoryToucher:
    """Has the pages of a tensor made by a thread of its own, as whoever writes to one for the
    first time waits for it to be cleared: that is slower than most memory is read.

    What is written meanwhile stays as it is.
    """

    def __init__(self, memory: Tensor) -> None:
        self._memory = memory
        self._touched = self._wanted = 0
        self._running = False
        self._lock = threading.Lock()

    def touch(self, num_bytes: int) -> None:
        """Soon, the first so many bytes have pages."""
        with self._lock:
            self._wanted = max(self._wanted, min(num_bytes, self._memory.nbytes) // _PIECE * _PIECE)
            if self._running or self._wanted == self._touched:
                return
            self._running = True
        threading.Thread(target=self._run, name="memory-toucher", daemon=True).start()

    def _run(self) -> None:
        while self._goes_on():
            if _madvise(self._memory.data_ptr() + self._touched, _PIECE, _POPULATE_WRITE):
                error = os.strerror(ctypes.get_errno())
                logger.info("memory is not touched ahead of its use: %s", error)
                return  # and is still running, as far as `touch` knows
            self._touched += _PIECE

    def _goes_on(self) -> bool:
        with self._lock:
            self._running = self._touched < self._wanted
            return self._running
