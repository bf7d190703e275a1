"""One picture of a source: what it is called, and where its bytes are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FileAt:
    """A file. path: as open() takes it; bytes that are not UTF-8 are lone surrogates, as in
    os.fsdecode."""

    path: str


@dataclass(frozen=True, slots=True)
class MemberAt:
    """A member of a tar or zip archive. offset: of its bytes, in a tar that isn't compressed."""

    archive: str
    member: str
    offset: int | None = None
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UrlAt:
    """http(s): or data:."""

    url: str


@dataclass(frozen=True, slots=True)
class BytesAt:
    """The bytes themselves, such as of a table's cell."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BrokenAt:
    """Nowhere: what should have told the place is broken, such as a table's line. reason: as of a
    PictureError, which reading it raises."""

    reason: str


Location = FileAt | MemberAt | UrlAt | BytesAt | BrokenAt


@dataclass(frozen=True, slots=True)
class Picture:
    """name: what identifies it within a job, in this run and the next: a path as the source has
        it, "photos.zip!a.jpg", a URL, or "table.parquet#7". Bytes of a file's name that are not
        UTF-8 are lone surrogates.
    columns: what a table, or a data set's metadata, says of it, by name.
    was_named: by the user, one by one or in a list; what was merely found in a folder and is no
        picture is skipped, and what was named is a failure.
    """

    name: str
    at: Location
    columns: Mapping[str, Any] = field(default_factory=dict)
    was_named: bool = False

    @property
    def path(self) -> str | None:
        """Of its file, if it is one."""
        return self.at.path if isinstance(self.at, FileAt) else None


@dataclass(frozen=True, slots=True)
class Skip:
    """Something in a source that is not captioned. kind: such as "hidden", "FIFO", "listed twice",
    ".txt files"; what is skipped is counted by it."""

    kind: str
    name: str


class PictureError(Exception):
    """A picture that was meant can't be captioned; its row says why."""


class NotAPictureError(Exception):
    """A file that was found, rather than named, holds something else. kind: see Skip."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def printable(text: str) -> str:
    """Without the lone surrogates that stand for bytes of file names which are not UTF-8: they are
    \\x and two digits."""
    return name_bytes(text).decode("utf-8", "backslashreplace")


def name_bytes(text: str) -> bytes:
    """As os.fsencode, and of what can't be a file's name, such as a lone surrogate of JSON, too."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
