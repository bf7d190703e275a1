"""Outputs that grow by lines: JSON lines, CSV and TSV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from .destination import check_destination
from .growing_file import GrowingFile
from .output_options import OutputOptions
from .row import Row
from .sink import START, Position


class LineFormat(Protocol):
    """How a row is a line, which may hold newlines if it says so, as CSV does."""

    def check(self, path: str) -> None:
        """What else would be lost, or keeps it from being written. Raises RequestError."""

    def start(self, path: str, header: dict[str, Any] | None) -> bytes:
        """What comes before the first row. May write a file beside the output."""

    def line(self, row: Row) -> bytes:
        """With its newline."""

    def names(self, path: str) -> Iterator[str]:
        """Of the pictures in a file. Raises RequestError."""

    def end(self, path: str) -> int:
        """The byte at which lines can be added to a file that isn't ours. Raises RequestError."""


class LinesSink:
    """A file to which each row adds a line; a position is where a line begins."""

    takes_content = False

    def __init__(self, path: str, line_format: LineFormat, options: OutputOptions) -> None:
        self._path = path
        self._format = line_format
        self._options = options
        self._file: GrowingFile | None = None

    def check(self) -> None:
        """See Sink."""
        check_destination(self._path, self._options)
        self._format.check(self._path)

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """See Sink."""
        self._file = GrowingFile(self._path, position[1])
        if position == START:
            self._file.add(self._format.start(self._path, header))
        return 0, self._file.end

    def write(self, rows: Sequence[Row]) -> Position:
        """See Sink."""
        assert self._file is not None, "begin comes first"
        self._file.add(b"".join(map(self._format.line, rows)))
        return 0, self._file.end

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """See Sink."""
        if self._file is not None:
            self._file.close()

    def obstacle(self, path: str | None) -> str | None:
        """None: any row can be a line."""
        return None

    def names(self) -> Iterable[str]:
        """See Sink."""
        return self._format.names(self._path) if os.path.exists(self._path) else ()

    def end(self) -> Position:
        """See Sink."""
        if not os.path.exists(self._path) or not os.path.getsize(self._path):
            return START
        return 0, self._format.end(self._path)

    def has(self, path: str | None) -> bool:
        """False: `names` tells."""
        return False
