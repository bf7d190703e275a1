"""Pages of libraries that were read once: resident, and of no more use."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MADV_DONTNEED = 4
#: Of libraries that come with torch, which are never unloaded: what stands in the table is still
#: there when it has been read.
_MAPPING = re.compile(
    r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ +/.*/(?:torch/lib|nvidia)/.*\.so[.\d]*$"
)
_FACT = re.compile(r"(Rss|Anonymous): +(\d+) kB$")


class _Mapping(NamedTuple):
    """Part of a library, in bytes. own: pages that are no longer the file's."""

    start: int
    size: int
    writable: bool
    resident: int
    own: int


def unmap_read_pages() -> int:
    """Let go of what this process holds of the files of torch's libraries; returns the bytes.

    Loading a library touches most of its tables, those of CUDA's libraries too where there is no
    GPU: together 150 MiB. The page cache keeps them, and what is used again is mapped again, in
    some microseconds for 64 KiB. Parts that were written to, such as tables of relocated addresses,
    are left alone. Where the system has no such tables, nothing is done.
    """
    try:
        madvise = ctypes.CDLL(None).madvise
        mappings = list(_mappings())
    except (OSError, AttributeError, TypeError):
        return 0
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    freed = 0
    for mapping in mappings:
        if mapping.writable or mapping.own or not mapping.resident:
            continue
        if madvise(mapping.start, mapping.size, _MADV_DONTNEED) == 0:
            freed += mapping.resident
    return freed


def _mappings() -> Iterator[_Mapping]:
    """Those of torch's libraries."""
    found: re.Match[str] | None = None
    facts: dict[str, int] = {}
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if fact := _FACT.match(line):
            facts[fact[1]] = int(fact[2]) * 1024
        elif line.startswith("VmFlags:") and found is not None:
            start, end = int(found[1], 16), int(found[2], 16)
            writable = "w" in found[3]
            yield _Mapping(start, end - start, writable, facts["Rss"], facts["Anonymous"])
        elif "-" in line.partition(" ")[0]:
            found, facts = _MAPPING.match(line), {}
