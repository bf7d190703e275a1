"""CSV and TSV, quoted as RFC 4180 has it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ....core.protocol.errors import RequestError
from ...whole_files import replace_file, sync_folder
from ..picture import printable
from .destination import would_be_overwritten
from .fields import FILE, choose_fields
from .output_options import OutputOptions
from .row import Row


class CsvLines:
    """The first line names the columns. A header would be no row that readers of CSV expect; so it
    goes into a file beside it, "<name>-metadata.json", where W3C's "Model for Tabular Data and
    Metadata on the Web" has readers look: its `notes` are for anything."""

    def __init__(self, delimiter: str, options: OutputOptions) -> None:
        self._delimiter = delimiter
        self._options = options
        self._fields = choose_fields(options)

    def check(self, path: str) -> None:
        """The file beside it isn't overwritten either."""
        beside = _metadata_path(path)
        if os.path.lexists(beside) and not (self._options.overwrite or self._options.goes_on):
            raise RequestError(would_be_overwritten(beside, self._options))

    def start(self, path: str, header: dict[str, Any] | None) -> bytes:
        """The names of the columns."""
        beside = _metadata_path(path)
        if header is not None:
            replace_file(beside, self._metadata(path, header))
        elif os.path.lexists(beside):  # of what was there before
            os.unlink(beside)
        sync_folder(os.path.dirname(path))
        return self._encode(self._columns())

    def line(self, row: Row) -> bytes:
        """See LineFormat."""
        return self._encode([_cell(field.of(row)) for field in self._fields])

    def names(self, path: str) -> Iterator[str]:
        """Of the column of files."""
        rows = self._rows(path)
        columns = next(rows, [])
        if FILE not in columns:
            raise RequestError(
                f"{printable(path)} has no column {FILE!r}, so that what is missing can't be told"
            )
        place = columns.index(FILE)
        for row in rows:
            if len(row) > place:
                yield row[place]

    def end(self, path: str) -> int:
        """Its columns must be ours."""
        there = next(self._rows(path), [])
        if there != self._columns():
            raise RequestError(
                f"{printable(path)} has the columns {', '.join(there)}, and this job has "
                f"{', '.join(self._columns())}; name the same by --fields, or another file with -o"
            )
        with open(path, "rb") as file:
            end = file.seek(-1, os.SEEK_END) + 1
            if file.read(1) != b"\n":
                raise RequestError(f"{printable(path)}: its last line isn't whole; mend it")
        return end

    def _columns(self) -> list[str]:
        return [field.name for field in self._fields]

    def _encode(self, cells: Sequence[str]) -> bytes:
        # The writer quotes what is in its line terminator, and must quote both kinds of newline;
        # lines themselves end as Unix's tools and most writers of CSV have it.
        line = io.StringIO()
        csv.writer(line, delimiter=self._delimiter, lineterminator="\r\n").writerow(cells)
        return (line.getvalue().removesuffix("\r\n") + "\n").encode()

    def _rows(self, path: str) -> Iterator[list[str]]:
        """Raises RequestError for what is no CSV."""
        with open(path, encoding="utf-8-sig", newline="") as file:
            try:
                yield from csv.reader(file, delimiter=self._delimiter)
            except (csv.Error, UnicodeDecodeError) as error:
                raise RequestError(f"{printable(path)} can't be read: {error}") from error

    def _metadata(self, path: str, header: dict[str, Any]) -> bytes:
        dialect = {} if self._delimiter == "," else {"dialect": {"delimiter": self._delimiter}}
        metadata = {
            "@context": "http://www.w3.org/ns/csvw",
            "url": printable(os.path.basename(path)),
            **dialect,
            "tableSchema": {"columns": [{"titles": name} for name in self._columns()]},
            "notes": [header],
        }
        return msgspec.json.format(msgspec.json.encode(metadata)) + b"\n"


def _metadata_path(path: str) -> str:
    return path + "-metadata.json"


def _cell(value: Any) -> str:
    """What is neither text nor a number is JSON, such as true; nothing is an empty cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
