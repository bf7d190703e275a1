"""Lists of paths and URLs: text files, and what other programs write to standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from ....core.protocol.errors import RequestError
from .formats import picture_format

_BLOCK = 2**16
#: A data: URL may be as long as a picture.
_LONGEST = 2**26
_BOM = b"\xef\xbb\xbf"


def entries_of(stream: BinaryIO, name: str) -> Iterator[str]:
    """A list's entries as they arrive: up to a NUL, if its first block has one (find -print0), or
    else a line each. Empty ones are left out. Raises RequestError for what is no list."""
    read = getattr(stream, "read1", stream.read)  # what is there already, rather than a whole block
    rest = b""
    separator: bytes | None = None
    while block := read(_BLOCK):
        if separator is None:
            block = rest + block
            _check_beginning(block, name)
            separator = _separator(block)
            rest = b""
            if separator is None:
                rest = _not_too_long(block, name)
                continue
            block = block.removeprefix(_BOM)
        head, found, tail = block.rpartition(separator)
        if not found:
            rest = _not_too_long(rest + tail, name)
            continue
        yield from _texts((rest + head).split(separator), separator)
        rest = tail
    yield from _texts([rest if separator else rest.removeprefix(_BOM)], separator or b"\n")


def _separator(block: bytes) -> bytes | None:
    if b"\0" in block:
        return b"\0"
    return b"\n" if b"\n" in block else None


def _texts(entries: list[bytes], separator: bytes) -> Iterator[str]:
    for entry in entries:
        text = entry.removesuffix(b"\r") if separator == b"\n" else entry
        if text:
            yield os.fsdecode(text)


def _check_beginning(block: bytes, name: str) -> None:
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RequestError(f"{name}: the list is in UTF-16; save it as UTF-8")
    if picture_format(block, name) is not None:
        raise RequestError(f"{name}: this is a picture, and not a list of paths")


def _not_too_long(entry: bytes, name: str) -> bytes:
    if len(entry) > _LONGEST:
        raise RequestError(f"{name}: a line has more than {_LONGEST} bytes; is it a list of paths?")
    return entry
