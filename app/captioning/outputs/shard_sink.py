"""WebDataset shards: tar files with pictures, their texts and their fields."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ....core.protocol.errors import RequestError
from ...whole_files import naming_file
from ..picture import printable
from .destination import check_folder, would_be_overwritten
from .fields import FILE, choose_fields, record
from .growing_file import GrowingFile
from .output_options import OutputOptions
from .picture_format import picture_ending
from .row import Row
from .shard_names import SampleKeys
from .sink import START, Position

MAX_SHARD_BYTES = 10**9
#: Two blocks of zeros: a shard ends with them at any time, and is continued in their place.
_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)
_FIELDS_ENDING = ".json"


class ShardSink:
    """`pictures.tar` stands for pictures-000000.tar and so on. Each sample is `<key>.jpg`, or how
    pictures of its content end; `<key>.txt`, the first prompt's text; and `<key>.json`, all
    fields. Pictures that failed are left out. A position is a shard's number, and where in it the
    next sample begins."""

    takes_content = True

    def __init__(self, path: str, options: OutputOptions) -> None:
        if options.shard_size < 1:
            raise RequestError(f"--shard-size must be at least 1, not {options.shard_size}")
        self._stem = os.path.splitext(path)[0]
        self._options = options
        self._fields = choose_fields(options)
        self._number = 0
        self._shard: GrowingFile | None = None
        self._keys = SampleKeys()

    def check(self) -> None:
        """See Sink."""
        check_folder(self._path(0))
        numbers = self._numbers()
        if numbers and not (self._options.overwrite or self._options.goes_on):
            raise RequestError(would_be_overwritten(self._path(numbers[0]), self._options))

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """See Sink. Shards have no place for a header."""
        self._number, end = position
        for number in self._numbers():
            if number > self._number or (number == self._number and not end):
                with naming_file(self._path(number)):
                    os.unlink(self._path(number))
        if end:
            self._shard = GrowingFile(self._path(self._number), end)
            self._shard.add(b"", _END_OF_ARCHIVE)
            self._keys = _keys_in(self._path(self._number))
        return position

    def write(self, rows: Sequence[Row]) -> Position:
        """See Sink. On an error whole samples may be there beyond the last position; `begin` cuts
        them off."""
        pending = bytearray()
        for row in rows:
            if row.error is None:
                if self._is_full(len(pending)):
                    self._add(pending)
                    self._next_shard()
                    pending = bytearray()
                pending += self._sample(row)
        self._add(pending)
        return self._number, self._end()

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """See Sink."""
        if self._shard is not None:
            self._shard.close()

    def obstacle(self, path: str | None) -> str | None:
        """None: any picture can be a sample."""
        return None

    def names(self) -> Iterable[str]:
        """See Sink."""
        for number in self._numbers():
            try:
                yield from _names_in(self._path(number))
            except (tarfile.TarError, msgspec.DecodeError, KeyError, TypeError) as error:
                raise RequestError(
                    f"{printable(self._path(number))} has no {FILE!r} in each sample's .json, so "
                    f"that what is missing can't be told: {error}"
                ) from error

    def end(self) -> Position:
        """Behind the last shard."""
        numbers = self._numbers()
        return (numbers[-1] + 1, 0) if numbers else START

    def has(self, path: str | None) -> bool:
        """False: `names` tells."""
        return False

    def _is_full(self, num_pending: int) -> bool:
        return (
            len(self._keys) >= self._options.shard_size
            or self._end() + num_pending >= MAX_SHARD_BYTES
        )

    def _sample(self, row: Row) -> bytes:
        assert row.content is not None, "takes_content"
        key = self._keys.make(row.name)
        fields = msgspec.json.encode(record(row, self._fields))
        return (
            _member(f"{key}.{picture_ending(row.content) or 'bin'}", row.content)
            + _member(f"{key}.txt", row.texts[self._options.prompts[0]].encode())
            + _member(f"{key}{_FIELDS_ENDING}", fields)
        )

    def _add(self, samples: bytearray) -> None:
        if not samples:
            return
        if self._shard is None:
            self._shard = GrowingFile(self._path(self._number), 0)
        self._shard.add(bytes(samples), _END_OF_ARCHIVE)

    def _next_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
        self._shard = None
        self._number += 1
        self._keys = SampleKeys()

    def _end(self) -> int:
        return self._shard.end if self._shard is not None else 0

    def _path(self, number: int) -> str:
        return f"{self._stem}-{number:06d}.tar"

    def _numbers(self) -> list[int]:
        """Of the shards that are there, in order."""
        folder, stem = os.path.split(self._stem)
        pattern = re.compile(re.escape(stem) + r"-(\d{6,})\.tar")
        found = map(pattern.fullmatch, os.listdir(folder or "."))
        return sorted(int(match[1]) for match in found if match)


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    padding = bytes(-len(data) % tarfile.BLOCKSIZE)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8") + data + padding


def _keys_in(path: str) -> SampleKeys:
    keys = SampleKeys()
    with tarfile.open(path, "r:") as shard:
        for member in shard:
            if member.name.endswith(_FIELDS_ENDING):
                keys.add(member.name.removesuffix(_FIELDS_ENDING))
    return keys


def _names_in(path: str) -> Iterator[str]:
    with tarfile.open(path, "r:") as shard:
        for member in shard:
            content = shard.extractfile(member)
            if member.name.endswith(_FIELDS_ENDING) and content is not None:
                yield msgspec.json.decode(content.read())[FILE]
