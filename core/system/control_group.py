"""What the control group of this process allows it, by version 2 of their interface or version 1.

A container sees its own group at the root. The names of files and fields are those of the kernel's
documentation (admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/memory.rst).
"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
#: Version 1 has a number as good as none where there is no limit.
_MOST_BYTES = 1 << 60
#: Of each version: the limit, what is used, and the part of that by kind.
_MEMORY = (
    ("memory.max", "memory.current", "memory.stat"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
    ),
)
#: Of the page cache, in either version.
_CACHED = {"inactive_file", "active_file", "total_inactive_file", "total_active_file"}


def memory_limit() -> int | None:
    """Bytes; None if there is no limit."""
    for limit, _, _ in _MEMORY:
        if (found := _number(limit)) is not None:
            return found if found < _MOST_BYTES else None
    return None


def memory_room() -> int | None:
    """Bytes that may still be allocated; None if there is no limit.

    Files that the group has read count as used, such as a model's weights from another start, but
    make room when memory is needed.
    """
    limit = memory_limit()
    if limit is None:
        return None
    for _, used, kinds in _MEMORY:
        if (found := _number(used)) is not None:
            return max(0, limit - max(0, found - _cached(kinds)))
    return None


def processor_quota() -> float | None:
    """Processors' worth of time that the group gets, such as 1.5; None without a limit."""
    quota, _, period = _text("cpu.max").partition(" ")
    if not quota:
        quota, period = _text("cpu/cpu.cfs_quota_us"), _text("cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _cached(kinds: str) -> int:
    """Bytes. Version 1 has them of the group alone, and, as "total", with its children."""
    fields = dict(line.split() for line in _text(kinds).splitlines())
    sizes = {name: int(size) for name, size in fields.items() if name in _CACHED}
    total = [size for name, size in sizes.items() if name.startswith("total_")]
    return sum(total) if total else sum(sizes.values())


def _number(name: str) -> int | None:
    text = _text(name)
    return int(text) if text.isdigit() else None


def _text(name: str) -> str:
    """Of a file; empty if there is none."""
    try:
        return (_ROOT / name).read_text().strip()
    except OSError:
        return ""
