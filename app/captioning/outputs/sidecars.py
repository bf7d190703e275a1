"""Files beside each picture that hold its captions: .txt, .caption, .json and .xmp."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from ...whole_files import replace_file, sync_folder
from ..picture import printable
from .fields import choose_fields, record
from .output_options import OutputOptions
from .picture_format import is_picture_file
from .row import Row
from .sidecar_claims import SidecarClaims
from .sidecar_kinds import JSON, XMP, SidecarKind, parse_sidecars
from .sink import START, Position
from .xmp import XmpError, properties_in, with_caption

#: Threads that write, each of which mostly waits for the disk.
_NUM_WRITERS = 4


class Sidecars:
    """The job's journal knows what has been written: writing it again changes nothing. Pictures
    that failed get no file, and so does one that has been moved away since it was captioned."""

    takes_content = False

    def __init__(self, options: OutputOptions) -> None:
        """Raises RequestError for endings, prompts and fields that there aren't."""
        self._options = options
        self._kinds = parse_sidecars(options.sidecars, options.prompts)
        self._fields = choose_fields(options)
        self._claims = SidecarClaims(options.is_ours)

    def check(self) -> None:
        """Nothing: `obstacle` looks at each picture's files."""

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """Nothing: a sidecar has no place for a header."""
        return position

    def write(self, rows: Sequence[Row]) -> Position:
        """See Sink."""
        rows = [row for row in rows if row.error is None and row.path and os.path.exists(row.path)]
        with ThreadPoolExecutor(_NUM_WRITERS) as pool:
            list(pool.map(self._write_files, rows))
        for folder in {os.path.dirname(row.path or "") for row in rows}:
            sync_folder(folder)
        return START

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """Nothing is open."""

    def obstacle(self, path: str | None) -> str | None:
        """See Sink."""
        if path is None:
            return (
                "it is no file of its own, so that no sidecar can be beside it; name a file by -o"
            )
        folder = os.path.dirname(path) or "."
        if not os.access(folder, os.W_OK | os.X_OK):
            return (
                f"its sidecar can't be written: change the permissions of {printable(folder)}, or "
                "name a file by -o"
            )
        try:
            reasons = (self._obstacle_of(kind, path) for kind in self._kinds)
            return next((reason for reason in reasons if reason is not None), None)
        except OSError as error:
            return f"its sidecar can't be written: {error.strerror}"

    def names(self) -> Iterable[str]:
        """None: `has` tells."""
        return ()

    def end(self) -> Position:
        """See Sink."""
        return START

    def has(self, path: str | None) -> bool:
        """Whether all its sidecars are there."""
        return path is not None and all(_is_there(kind, path) for kind in self._kinds)

    def _write_files(self, row: Row) -> None:
        assert row.path is not None, "others have been left out"
        for kind in self._kinds:
            path = kind.path(row.path)
            replace_file(path, self._content(kind, path, row))

    def _content(self, kind: SidecarKind, path: str, row: Row) -> bytes:
        text = row.texts[kind.text] if kind.text is not None else None
        if kind.ending == JSON:
            return msgspec.json.format(msgspec.json.encode(record(row, self._fields))) + b"\n"
        if kind.ending != XMP:
            return f"{text}\n".encode()
        try:
            return with_caption(_read(path), text, kind.subjects(row.texts))
        except XmpError as error:  # `obstacle` has seen another file
            raise OSError(errno.EINVAL, f"can't be added to: {error}", path) from error

    def _obstacle_of(self, kind: SidecarKind, picture: str) -> str | None:
        """Raises OSError."""
        path = kind.path(picture)
        name = printable(os.path.basename(path))
        if path == picture:
            return f"its sidecar {name} would be the picture itself"
        if kind.ending != XMP and (other := self._claims.claim(picture)):
            return _of_another(name, other)
        try:
            os.lstat(path)
        except FileNotFoundError:
            return None
        if not os.path.isfile(path):
            return f"{name}, where its sidecar would be, is no file; move it away"
        if kind.ending == XMP:
            return self._obstacle_in_xmp(kind, picture, path, name)
        return self._obstacle_in_file(picture, path, name)

    def _obstacle_in_file(self, picture: str, path: str, name: str) -> str | None:
        if self._options.is_ours(picture):
            return None
        if other := self._claims.writer(picture):
            return _of_another(name, other)
        if not self._options.overwrite:
            return _is_kept(f"{name} is there already")
        if is_picture_file(path):
            return f"{name}, where its sidecar would be, is a picture, which isn't overwritten"
        return None

    def _obstacle_in_xmp(self, kind: SidecarKind, picture: str, path: str, name: str) -> str | None:
        try:
            there = properties_in(_read(path) or b"") & kind.properties
        except XmpError as error:
            return f"{name} can't be added to, as {error}; mend it or move it away"
        if not there or self._options.overwrite or self._options.is_ours(picture):
            return None
        return _is_kept(f"{name} has dc:{' and dc:'.join(sorted(there))} already")


def _of_another(name: str, other: str) -> str:
    return f"{name} is the sidecar of {printable(os.path.basename(other))}; rename one"


def _is_kept(what: str) -> str:
    return (
        f"{what}: --only-missing skips pictures that have all their sidecars, --overwrite replaces "
        "what they have"
    )


def _is_there(kind: SidecarKind, picture: str) -> bool:
    path = kind.path(picture)
    if path == picture or not os.path.isfile(path):
        return False
    if kind.ending != XMP:
        return True
    try:
        return properties_in(_read(path) or b"") >= kind.properties
    except (XmpError, OSError):  # `obstacle` tells of it
        return False


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
