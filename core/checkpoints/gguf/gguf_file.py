"""A GGUF file of version 2 or 3, read in one pass: its keys, and its tensors as views of a mapping
(format: docs/gguf.md of ggml-org/ggml)."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from ...contracts.specs import JsonDict
from ...protocol.config import ConfigError
from ..unreadable import unreadable
from .gguf_cursor import GgufCursor

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
#: Bytes that a key and a tensor's entry take at least.
_KEY_SIZE, _ENTRY_SIZE = 13, 24
_ALIGNMENT, _DEFAULT_ALIGNMENT = "general.alignment", 32
#: ggml's limit.
_MAX_DIMS = 4


@dataclass(frozen=True)
class GgufTensor:
    """data: [..., bytes of a row], uint8, a view of the file."""

    kind: GGMLQuantizationType
    data: NDArray[np.uint8]


@dataclass(frozen=True)
class GgufFile:
    """keys: values in the file's order; arrays are lists. tensors: by name, in its order."""

    keys: JsonDict
    tensors: dict[str, GgufTensor]


class _Entry(NamedTuple):
    """A tensor in the table. offset: in bytes, from where the first may begin."""

    name: str
    dims: tuple[int, ...]
    kind: int
    offset: int


class _Place(NamedTuple):
    start: int
    end: int
    name: str


def read_gguf(path: Path) -> GgufFile:
    """Raises ConfigError that names the file, and the key or the tensor at fault."""
    try:
        with path.open("rb") as file:
            is_gguf = file.read(len(_MAGIC)) == _MAGIC
            if is_gguf:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if is_gguf:
            return _read(GgufCursor(data, len(_MAGIC)))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    raise ConfigError(f"{path} is not a GGUF file")


def _read(cursor: GgufCursor) -> GgufFile:
    with _blamed("its header"):
        _check_version(cursor.uint32())
    with _blamed("its number of tensors"):
        num_tensors = cursor.count(_ENTRY_SIZE)
    with _blamed("its number of keys"):
        num_keys = cursor.count(_KEY_SIZE)
    keys = _read_keys(cursor, num_keys)
    entries = [_read_entry(cursor, f"{i + 1} of {num_tensors}") for i in range(num_tensors)]
    alignment = _alignment(keys)
    begin = -(-cursor.position // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    places = []
    for entry in entries:
        with _blamed(f"the tensor {entry.name}"):
            if entry.name in tensors:
                raise ValueError("it is there twice")
            tensors[entry.name], place = _view(cursor.data, entry, begin, alignment)
        places.append(place)
    _check_apart(places)
    return GgufFile(keys, tensors)


def _check_version(version: int) -> None:
    if version in _VERSIONS:
        return
    if version.to_bytes(4, "little")[:2] == b"\0\0":
        raise ValueError("it is big-endian; convert it to little-endian first")
    raise ValueError(f"it is of version {version}; versions 2 and 3 are supported")


def _read_keys(cursor: GgufCursor, count: int) -> JsonDict:
    keys = {}
    for i in range(count):
        with _blamed(f"key {i + 1} of {count}"):
            name = cursor.string()
        with _blamed(f"the key {name}"):
            if name in keys:
                raise ValueError("it is there twice")
            keys[name] = cursor.value()
    return keys


def _read_entry(cursor: GgufCursor, number: str) -> _Entry:
    with _blamed(f"tensor {number}"):
        name = cursor.string()
    with _blamed(f"the tensor {name}"):
        num_dims = cursor.uint32()
        if num_dims > _MAX_DIMS:
            raise ValueError(f"it has {num_dims} dimensions, more than {_MAX_DIMS}")
        dims = tuple(cursor.uint64() for _ in range(num_dims))
        return _Entry(name, dims, cursor.uint32(), cursor.uint64())


def _alignment(keys: JsonDict) -> int:
    alignment = keys.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment.bit_count() != 1:
        raise ValueError(f"the key {_ALIGNMENT}: {alignment!r:.60} is no power of two")
    return alignment


def _view(data: mmap.mmap, entry: _Entry, begin: int, alignment: int) -> tuple[GgufTensor, _Place]:
    try:
        kind = GGMLQuantizationType(entry.kind)
    except ValueError as error:
        raise ValueError(f"it is of a type that is not known, {entry.kind}") from error
    block, block_bytes = GGML_QUANT_SIZES[kind]
    row, *outer = entry.dims or (1,)
    if row % block or 0 in entry.dims:
        raise ValueError(f"{list(entry.dims)} is no size of tensors in {kind.name}")
    if entry.offset % alignment:
        raise ValueError(f"its offset {entry.offset} is no multiple of {alignment}")
    shape = (*reversed(outer), row // block * block_bytes)
    start, size = begin + entry.offset, math.prod(shape)
    if start + size > len(data):
        raise ValueError(
            f"it ends at byte {start + size}, the file at {len(data)}; copy or download it again"
        )
    values = np.frombuffer(data, np.uint8, size, start).reshape(shape)
    return GgufTensor(kind, values), _Place(start, start + size, entry.name)


def _check_apart(places: list[_Place]) -> None:
    places.sort()
    for one, other in pairwise(places):
        if other.start < one.end:
            raise ValueError(f"the tensors {one.name} and {other.name} overlap")


@contextmanager
def _blamed(part: str) -> Iterator[None]:
    """Errors within name the part that was read."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{part}: {error}") from error
