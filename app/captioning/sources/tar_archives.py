"""Pictures in tar archives, grouped into samples as WebDataset does."""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from lzma import LZMAError
from typing import IO, Any

from ....core.protocol.media_limits import MediaLimits
from ..picture import (
    BrokenAt,
    BytesAt,
    Location,
    MemberAt,
    NotAPictureError,
    Picture,
    PictureError,
    Skip,
    printable,
)
from .bounded_read import read_picture
from .columns import plain
from .hidden import is_hidden

#: What is before the first dot of a member's name is its sample's key, and what is after it names
#: the part.
_KEY = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)")
#: Endings of parts that are columns rather than pictures.
_COLUMNS = frozenset(("json", "txt", "cls", "text", "caption"))
_LARGEST_COLUMN = 2**20
#: Samples are held until their last part. What has more is a folder of pictures whose names share
#: a beginning.
_MOST_PARTS = 64
_DAMAGED = (
    tarfile.TarError,
    zlib.error,
    LZMAError,
    EOFError,
    OSError,
    ValueError,
)


class _StrictHeader(tarfile.TarInfo):
    """tarfile takes a damaged header for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _StrictHeader:
        try:
            return super().fromtarfile(archive)
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


@dataclass
class _Sample:
    key: str | None
    parts: set[str] = field(default_factory=set)
    found: list[tuple[str, Location]] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    num_bytes: int = 0

    def pictures(self) -> Iterator[Picture]:
        columns: Mapping[str, Any] = {"__key__": self.key, **self.columns} if self.key else {}
        for name, place in self.found:
            yield Picture(name, place, columns)


def pictures_of_tar(path: str, limits: MediaLimits) -> Iterator[Picture | Skip]:
    """In the archive's order. Of a compressed one the bytes come with the pictures, as it can only
    be read from its beginning: no more at a time than a sample's."""
    sample = _Sample(None)
    last = ""
    try:
        is_plain = _is_plain(path)
        with tarfile.open(path, "r:" if is_plain else "r|*", tarinfo=_StrictHeader) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]
                last = member.name
                if member.isdir():
                    continue
                key, part = _key_and_part(member.name)
                if key is None or key != sample.key or _is_full(sample, limits):
                    yield from sample.pictures()
                    sample = _Sample(key)
                yield from _add(sample, part, archive, member, path, is_plain, limits)
    except _DAMAGED as error:
        yield from sample.pictures()
        where = f"after {printable(last)}" if last else "at its beginning"
        reason = f"the archive is damaged {where}: {error}; what follows is lost, copy it again"
        yield Picture(path, BrokenAt(reason), was_named=True)
    else:
        yield from sample.pictures()


def num_members(path: str) -> int | None:
    """Of an archive that isn't compressed, by its headers; None of others, and of damaged ones."""
    try:
        if not _is_plain(path):
            return None
        number = 0
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]
                _, part = _key_and_part(member.name)
                is_one = member.isreg() and not _is_column(part) and not is_hidden(member.name)
                number += is_one
        return number
    except _DAMAGED:
        return None


def _add(
    sample: _Sample,
    part: str,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: str,
    is_plain: bool,
    limits: MediaLimits,
) -> Iterator[Skip]:
    name = f"{path}!{member.name}"
    if is_hidden(member.name):
        yield Skip("hidden", name)
    elif not member.isreg():
        yield Skip("links in archives" if member.islnk() or member.issym() else "device", name)
    elif sample.key is not None and part in sample.parts:
        yield Skip("listed twice", name)
    elif _is_column(part) and member.size <= _LARGEST_COLUMN:
        sample.parts.add(part)
        sample.columns[part] = _column(part, _read(archive, member))
    else:
        sample.parts.add(part)
        place: Location | Skip
        if is_plain and not member.issparse():
            place = MemberAt(path, member.name, member.offset_data, member.size)
        else:
            place = _read_now(archive, member, name, limits)
        if isinstance(place, Skip):
            yield place
        else:
            sample.found.append((name, place))
            sample.num_bytes += 0 if is_plain else member.size


def _read_now(
    archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, limits: MediaLimits
) -> Location | Skip:
    with _open(archive, member) as file:
        try:
            return BytesAt(read_picture(file.read, member.size, member.name, False, limits))
        except NotAPictureError as error:
            return Skip(error.kind, name)
        except PictureError as error:
            return BrokenAt(str(error))


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    with _open(archive, member) as file:
        return file.read()


def _column(part: str, data: bytes) -> Any:
    """A number for .cls, the value of JSON, and text of all else and of what is broken."""
    text = data.decode("utf-8", "replace")
    try:
        if part.endswith("json"):
            return plain(json.loads(text))
        return int(text) if part.endswith("cls") else text
    except (ValueError, RecursionError):
        return text


def _key_and_part(name: str) -> tuple[str | None, str]:
    """The part in lower case; without a key if there is no dot."""
    match = _KEY.fullmatch(name)
    return (match[1], match[2].lower()) if match else (None, "")


def _is_column(part: str) -> bool:
    """By its last ending, as of "meta.json"."""
    return part.rpartition(".")[2] in _COLUMNS


def _is_full(sample: _Sample, limits: MediaLimits) -> bool:
    return len(sample.parts) >= _MOST_PARTS or sample.num_bytes > 2 * limits.max_bytes


def _is_plain(path: str) -> bool:
    """Whether it isn't compressed."""
    with open(path, "rb") as file:
        head = file.read(6)
    return not head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    assert file is not None, "a regular file"
    return file
