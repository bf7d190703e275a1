"""The machine's memory: how much is free, and what the C library keeps of what was freed."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 * 2**20
_LARGEST_KEPT = 32 * 2**20


def available_memory() -> int:
    """Bytes that could be allocated now, within the control group's limit."""
    free = _meminfo_available()
    limit, used = (_cgroup_bytes(name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else max(0, min(free, limit - used))


def keep_freed_memory() -> None:
    """Have freed memory of up to 256 MiB kept for the next allocation, in this whole process.

    Every step allocates and frees megabytes, such as its logits. glibc gives these back to the
    system and takes them anew, page by page, which can take longer than computing them. Other C
    libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        logger.debug("this C library has no mallopt: freed memory goes back to the system")
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library offers that (glibc does). Loading a
    model frees many pieces between others that stay, so that their pages would stay resident."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _meminfo_available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")


def _cgroup_bytes(name: str) -> int | None:
    try:
        text = Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
