"""Pages of files that are mapped and were read once: resident, and of no more use."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

_MADV_DONTNEED = 4
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ +(/.*)$")
#: Libraries that come with torch, which are never unloaded.
_LIBRARY = re.compile(r"/(?:torch/lib|nvidia)/.*\.so[.\d]*$")
_FACT = re.compile(r"(Rss|Anonymous): +(\d+) kB$")
#: Bytes of files that a process must have come to hold before it is worth the time to look where
#: they are: 20 to 40 ms, as the kernel counts the pages of every mapping.
_WORTHWHILE = 32 * 2**20


class _Held:
    """Bytes of files that this process held when pages were let go last, or fewer since."""

    before = 0


class _Mapping(NamedTuple):
    """Part of a file, in bytes. own: of pages that were written to, and are no longer the
    file's."""

    start: int
    size: int
    resident: int
    own: int


def unmap_read_pages(weights: Collection[Path] = ()) -> int:
    """Let go of what this process holds of the files of torch's libraries and of weights; returns
    the bytes. weights: the files, without links, of a caller who holds their mappings, while nobody
    writes there.

    Loading a library touches most of its tables, those of CUDA's libraries too where there is no
    GPU: together 150 MiB; quantising a layer reads all of it. The page cache keeps the pages, and
    what is used again is mapped again, in some microseconds for 64 KiB. Parts that were written to,
    such as tables of relocated addresses, are left alone. Where the system has no such tables,
    nothing is done; nor where less than 32 MiB have come since the last time.
    """
    try:
        held = _held()
        # Files may have been closed since.
        _Held.before = min(_Held.before, held)
        if held < _Held.before + _WORTHWHILE:
            return 0
        freed = _unmap(frozenset(map(str, weights)))
        _Held.before = _held()
    except (OSError, AttributeError, TypeError):
        return 0
    return freed


def _held() -> int:
    """Bytes that this process holds of files and of shared memory."""
    statm = Path("/proc/self/statm").read_text().split()
    return int(statm[2]) * os.sysconf("SC_PAGE_SIZE")


def _unmap(weights: frozenset[str]) -> int:
    madvise = ctypes.CDLL(None).madvise
    mappings = list(_mappings(weights))
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    freed = 0
    for mapping in mappings:
        if mapping.own or not mapping.resident:
            continue
        if madvise(mapping.start, mapping.size, _MADV_DONTNEED) == 0:
            freed += mapping.resident
    return freed


def _mappings(weights: frozenset[str]) -> Iterator[_Mapping]:
    """Those that stay, and that nobody writes to, so that what the table says of one is still true
    when it has been read: of libraries what can't be written, and weights."""
    found: re.Match[str] | None = None
    facts: dict[str, int] = {}
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if fact := _FACT.match(line):
            facts[fact[1]] = int(fact[2]) * 1024
        elif line.startswith("VmFlags:"):
            if found is not None and _stays(found[3], found[4], weights):
                start, end = int(found[1], 16), int(found[2], 16)
                yield _Mapping(start, end - start, facts["Rss"], facts["Anonymous"])
        elif "-" in line.partition(" ")[0]:
            found, facts = _MAPPING.match(line), {}


def _stays(permissions: str, path: str, weights: frozenset[str]) -> bool:
    return path in weights or ("w" not in permissions and _LIBRARY.search(path) is not None)
