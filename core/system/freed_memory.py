"""Memory that was freed, but that the C library keeps for later."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Give it back to the system, where the C library offers that (glibc does). Loading a model
    frees many pieces between others that stay, so that their pages would stay resident."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
