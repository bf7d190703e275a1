"""The beginning of a GGUF file: its keys and the table of its tensors (GGUF 2 and 3).

The gguf package's reader makes several objects for each token of a vocabulary, which takes seconds
and hundreds of megabytes; this one steps over them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...contracts.specs import JsonDict

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
#: Format characters of struct, by the number of a value's type.
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
#: Largest array that is kept: one number for each layer.
_MAX_KEPT = 4096
#: Limits of a string and of the tables, far beyond what files hold.
_MAX_LENGTH, _MAX_ENTRIES = 2**26, 2**20


@dataclass(frozen=True)
class GgufHeader:
    """keys: in the file's order; arrays of strings and long ones are None. tensors: the number of
    each one's type by its name."""

    keys: JsonDict
    tensors: dict[str, int]


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises ValueError for what is no such file, or damaged, and OSError."""
    with path.open("rb") as file:
        try:
            return _read(file)
        except (struct.error, MemoryError) as error:
            raise ValueError(f"its header is damaged: {error}") from error


def _read(file: BinaryIO) -> GgufHeader:
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("it doesn't begin as one")
    version = _number(file, "I")
    if version not in _VERSIONS:
        raise ValueError(f"its version or byte order is not supported (version {version})")
    num_tensors, num_keys = _number(file, "Q"), _number(file, "Q")
    if max(num_tensors, num_keys) > _MAX_ENTRIES:
        raise ValueError(f"its header counts {num_tensors} tensors and {num_keys} keys")
    keys = {}
    for _ in range(num_keys):
        name = _string(file)
        keys[name] = _value(file, _number(file, "I"))
    tensors = {}
    for _ in range(num_tensors):
        name, num_dims = _string(file), _number(file, "I")
        file.seek(8 * num_dims, 1)
        tensors[name] = _number(file, "I")
        file.seek(8, 1)
    return GgufHeader(keys, tensors)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        return _array(file, _number(file, "I"), _number(file, "Q"))
    if kind not in _NUMBERS:
        raise ValueError(f"a key's type is {kind}")
    return _number(file, _NUMBERS[kind])


def _array(file: BinaryIO, kind: int, length: int) -> list[Any] | None:
    if kind == _STRING:
        for _ in range(length):
            size = _number(file, "Q")
            file.seek(size, 1)
        return None
    if kind not in _NUMBERS:
        raise ValueError(f"an array's type is {kind}")
    layout = struct.Struct(f"<{length}{_NUMBERS[kind]}") if length <= _MAX_KEPT else None
    if layout is None:
        file.seek(length * struct.calcsize(f"<{_NUMBERS[kind]}"), 1)
        return None
    return list(layout.unpack(file.read(layout.size)))


def _string(file: BinaryIO) -> str:
    length = _number(file, "Q")
    if length > _MAX_LENGTH:
        raise ValueError(f"its header has a string of {length} bytes")
    return file.read(length).decode("utf-8", "replace")


def _number(file: BinaryIO, code: str) -> Any:
    layout = struct.Struct(f"<{code}")
    (value,) = layout.unpack(file.read(layout.size))
    return value
