"""The order that people sort file names in: img2 before img10, whatever their case."""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections.abc import Iterator

_DIGITS = re.compile("[0-9]+")
#: Names that are sorted at once, and whose keys are held meanwhile.
_RUN = 2**17


def natural_key(name: str) -> str:
    """Sorts numbers within names by their value, and letters without case and next to their
    accented kin. No two names have the same."""
    text = name if name.isascii() else _without_accents(name)
    return f"{_DIGITS.sub(_number, text.casefold())}\0{name}"


def _without_accents(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))


def _number(found: re.Match[str]) -> str:
    """Sorts among other characters as digits do, and among numbers by its length first."""
    digits = found[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"


class SortedNames:
    """Gives the names that were added in natural order, once. Names have no NUL.

    Sorted runs are packed into bytes and merged as they are given, so that a million names of 20
    characters take 20 MB rather than 70, and no more than one run's keys exist at a time.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._runs: list[bytes] = []

    def add(self, name: str) -> None:
        """One more."""
        self._names.append(name)
        if len(self._names) == _RUN:
            self._names.sort(key=natural_key)
            self._runs.append("\0".join(self._names).encode("utf-8", "surrogatepass"))
            self._names = []

    def __iter__(self) -> Iterator[str]:
        names, self._names = self._names, []
        runs, self._runs = self._runs, []
        names.sort(key=natural_key)
        if not runs:
            return iter(names)
        return heapq.merge(names, *map(_unpacked, runs), key=natural_key)


def _unpacked(run: bytes) -> Iterator[str]:
    begin = 0
    while begin <= len(run):
        end = run.find(b"\0", begin)
        end = len(run) if end < 0 else end
        yield run[begin:end].decode("utf-8", "surrogatepass")
        begin = end + 1
