"""Image file directories: the tables of tags in TIFF files and EXIF blocks (TIFF 6.0, BigTIFF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

#: An order of magnitude more than cameras and scanners write.
MAX_ENTRIES = 4096

#: Of struct, by a tag's type: those that count something, of which none may be below 0.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
#: The types that Pillow reads a number from; a fraction is two.
_NUMBERS = {
    **{3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"},
    16: "Q",
}


class IfdEntry(NamedTuple):
    """One tag. raw: the entry as it stands in the file; value: its last 4 or 8 bytes, which are
    the values if they fit, else where they are."""

    type: int
    num_values: int
    value: bytes
    raw: bytes


@dataclass(frozen=True)
class Ifd:
    """The first directory of a file: its bytes are data[start:end].

    byte_order: of struct. entries: by tag; of two with one tag, the first.
    """

    byte_order: str
    is_big: bool
    start: int
    end: int
    entries: dict[int, IfdEntry]

    def integer(self, tag: int) -> int | None:
        """The value of a tag with one integer, None without it. Raises ValueError for others."""
        entry = self.entries.get(tag)
        if entry is None:
            return None
        if entry.num_values != 1 or entry.type not in _INTEGERS:
            raise ValueError(f"tag {tag} must hold one integer")
        value: int = struct.unpack_from(self.byte_order + _INTEGERS[entry.type], entry.value)[0]
        if value < 0:
            raise ValueError(f"tag {tag} is below 0")
        return value

    def number(self, tag: int, data: bytes) -> float | None:
        """The first value of a tag of numbers of any type; None without it, and for other types.
        data: the file. Raises struct.error for a value that is not there."""
        entry = self.entries.get(tag)
        if entry is None or entry.type not in _NUMBERS or entry.num_values < 1:
            return None
        layout = struct.Struct(self.byte_order + _NUMBERS[entry.type])
        if layout.size * entry.num_values <= len(entry.value):
            values = layout.unpack_from(entry.value)
        else:
            pointer = struct.Struct(self.byte_order + ("Q" if self.is_big else "I"))
            (start,) = pointer.unpack(entry.value)
            values = layout.unpack_from(data[start : start + layout.size])
        if len(values) == 1:
            return float(values[0])
        return values[0] / values[1] if values[1] else None

    def pack(self, entries: dict[int, IfdEntry]) -> bytes:
        """A directory of these entries alone, the last of its file, as long as this one."""
        count = struct.pack(self.byte_order + ("Q" if self.is_big else "H"), len(entries))
        packed = count + b"".join(entry.raw for entry in entries.values())
        return packed.ljust(self.end - self.start, b"\0")


def read_ifd(data: bytes) -> Ifd:
    """The first directory. Raises ValueError, or struct.error where the data end too soon."""
    byte_order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if byte_order is None:
        raise ValueError("no TIFF header")
    is_big = 43 in data[2:4]
    start = struct.unpack_from(byte_order + ("8xQ" if is_big else "4xI"), data)[0]
    if start > len(data):
        raise ValueError("the first directory is outside the file")
    count_format, entry_format = ("Q", "HHQ8s") if is_big else ("H", "HHI4s")
    (count,) = struct.unpack_from(byte_order + count_format, data, start)
    if count > MAX_ENTRIES:
        raise ValueError(f"a directory of {count} tags, more than {MAX_ENTRIES}")
    entry = struct.Struct(byte_order + entry_format)
    first = start + struct.calcsize(count_format)
    end = first + count * entry.size
    entries: dict[int, IfdEntry] = {}
    for offset in range(first, end, entry.size):
        tag, kind, number, value = entry.unpack_from(data, offset)
        raw = data[offset : offset + entry.size]
        entries.setdefault(tag, IfdEntry(kind, number, value, raw))
    next_ifd = 8 if is_big else 4
    return Ifd(byte_order, is_big, start, end + next_ifd, entries)
