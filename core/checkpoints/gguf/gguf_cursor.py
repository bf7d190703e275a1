"""Values of a GGUF file, read one after another (format: docs/gguf.md of ggml-org/ggml)."""

from __future__ import annotations

import mmap
from struct import Struct
from typing import Any

import numpy as np

#: Layouts of numbers, by the number of their type.
_NUMBERS = {
    0: Struct("<B"),
    1: Struct("<b"),
    2: Struct("<H"),
    3: Struct("<h"),
    4: Struct("<I"),
    5: Struct("<i"),
    6: Struct("<f"),
    7: Struct("<?"),
    10: Struct("<Q"),
    11: Struct("<q"),
    12: Struct("<d"),
}
_STRING, _ARRAY = 8, 9
_UINT32, _UINT64 = _NUMBERS[4], _NUMBERS[10]
_CUT = "the file ends within it"


class GgufCursor:
    """A place in a file. All methods raise ValueError for what reaches beyond its end, before
    anything of a claimed size is allocated."""

    def __init__(self, data: mmap.mmap, position: int) -> None:
        self.data, self.position = data, position

    def uint32(self) -> int:
        """The next number."""
        value: int = self._number(_UINT32)
        return value

    def uint64(self) -> int:
        """The next number."""
        value: int = self._number(_UINT64)
        return value

    def count(self, smallest: int) -> int:
        """The next number, of things that take so many bytes at least."""
        count = self.uint64()
        if count * smallest > len(self.data) - self.position:
            raise ValueError(f"it counts {count}, which the file has no room for")
        return count

    def string(self) -> str:
        """The next text."""
        (text,) = self._strings(1)
        return text

    def value(self) -> Any:
        """The next value, after its type: a number, a text or a list of either."""
        kind = self.uint32()
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array()
        return self._number(_layout(kind))

    def _array(self) -> list[Any]:
        kind = self.uint32()
        if kind == _STRING:
            return self._strings(self.count(_UINT64.size))
        layout = _layout(kind)
        count = self.count(layout.size)
        start = self._skip(count * layout.size)
        dtype = np.dtype(layout.format)
        values: list[Any] = np.frombuffer(self.data, dtype, count, start).tolist()
        return values

    def _strings(self, count: int) -> list[str]:
        """The one loop over a vocabulary: a few operations for each text."""
        data, end, position = self.data, len(self.data), self.position
        read, header = _UINT64.unpack_from, _UINT64.size
        texts = []
        for _ in range(count):
            start = position + header
            if start > end:
                raise ValueError(_CUT)
            position = start + read(data, position)[0]
            if position > end:
                raise ValueError(_CUT)
            texts.append(data[start:position].decode())
        self.position = position
        return texts

    def _number(self, layout: Struct) -> Any:
        return layout.unpack_from(self.data, self._skip(layout.size))[0]

    def _skip(self, size: int) -> int:
        """Go on by so many bytes; where they begin."""
        start = self.position
        if size > len(self.data) - start:
            raise ValueError(_CUT)
        self.position = start + size
        return start


def _layout(kind: int) -> Struct:
    if kind not in _NUMBERS:
        raise ValueError(f"it is of a type that is not known, {kind}")
    return _NUMBERS[kind]
