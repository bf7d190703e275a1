"""JSON lines to standard output, a pipe or a device, which nobody can go back in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import FileIO
from typing import Any

from ....core.protocol.errors import RequestError
from ...whole_files import naming_file, write_whole
from ..picture import printable
from .json_lines import JsonLines
from .output_options import OutputOptions
from .row import Row
from .sink import START, Position


class StreamSink:
    """path: None for standard output. Each line is given on at once; where a job goes on, it
    writes the rows that are new."""

    takes_content = False

    def __init__(self, path: str | None, options: OutputOptions) -> None:
        self._path = path
        self._lines = JsonLines(options)
        self._file: FileIO | None = None

    def check(self) -> None:
        """See Sink."""
        if self._path is not None and not os.access(self._path, os.W_OK):
            raise RequestError(f"{printable(self._path)} can't be written: change its permissions")

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """Positions say nothing here: the header is always written."""
        if self._path is not None:
            self._file = FileIO(self._path, "w")
        try:
            self._write(self._lines.start("", header))
        except OSError:
            self.finish(lambda: iter(()))
            raise
        return START

    def write(self, rows: Sequence[Row]) -> Position:
        """See Sink. On no disk."""
        for row in rows:
            self._write(self._lines.line(row))
        return START

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """See Sink."""
        if self._file is not None:
            self._file.close()

    def obstacle(self, path: str | None) -> str | None:
        """None: any row can be a line."""
        return None

    def names(self) -> Iterable[str]:
        """Raises RequestError."""
        raise RequestError("--only-missing needs an output that can be read: name a file with -o")

    def end(self) -> Position:
        """See Sink."""
        return START

    def has(self, path: str | None) -> bool:
        """False: nobody can tell."""
        return False

    def _write(self, line: bytes) -> None:
        with naming_file(self._path or "standard output"):
            if self._file is None:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            else:
                write_whole(self._file, line)
