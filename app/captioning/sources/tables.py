"""Tables, row by row: CSV, TSV, JSON Lines, Parquet and Arrow."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from ....core.protocol.errors import RequestError
from ..picture import printable
from .columns import picture_column
from .formats import ending

#: Of a cell or a line, which may be a picture's data: URL; an unclosed quote makes the rest of a
#: file one cell.
_LONGEST = 2**26
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """cell: of the pictures' column. columns: the others. error: why the row can't be read."""

    index: int
    cell: Any = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


class TableError(Exception):
    """A table that can't be read at all."""


class Table(Protocol):
    """A file with rows. names: of its columns."""

    names: list[str]

    def column(self, asked: str | None) -> str:
        """The column with pictures. Raises RequestError."""

    def rows(self, column: str) -> Iterator[Row]:
        """From 0. Raises TableError where the rest can't be read."""

    def count_rows(self) -> int:
        """Raises TableError."""


def open_table(path: str) -> Table:
    """Raises TableError, or RequestError if a package is missing."""
    end = ending(path)
    if end in (".parquet", ".arrow"):
        # Imported here, as pyarrow is an extra.
        from .arrow_tables import ArrowTable, ParquetTable

        return ParquetTable(path) if end == ".parquet" else ArrowTable(path)
    try:
        return _JsonLines(path) if end in (".jsonl", ".ndjson") else _Csv(path)
    except (OSError, csv.Error) as error:
        raise TableError(str(getattr(error, "strerror", None) or error)) from error


TABLE_ENDINGS = frozenset((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow"))


class _Csv:
    """The first line names the columns. What separates them is a comma, of .tsv a tab; also a
    semicolon or a tab, if the first line has no comma."""

    def __init__(self, path: str) -> None:
        self._path = path
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
        with _open_text(path) as file:
            first = file.readline(_LONGEST)
        choices = "\t" if ending(path) == ".tsv" else ",;\t"
        self._separator = next((choice for choice in choices if choice in first), choices[0])
        self.names = next(csv.reader([first], delimiter=self._separator), [])

    def column(self, asked: str | None) -> str:
        column = picture_column(self.names, asked, printable(self._path))
        if self.names.count(column) > 1:
            raise RequestError(
                f"{printable(self._path)}: two columns are called {column!r}; rename one"
            )
        return column

    def rows(self, column: str) -> Iterator[Row]:
        return (self._row(index, cells, column) for index, cells in enumerate(self._cells()))

    def count_rows(self) -> int:
        return sum(1 for _ in self._cells())

    def _cells(self) -> Iterator[list[str]]:
        """Of each row below the first line."""
        with _open_text(self._path) as file:
            reader = csv.reader(file, delimiter=self._separator)
            try:
                next(reader, None)
                yield from filter(None, reader)
            except (csv.Error, OSError) as error:
                raise TableError(f"line {reader.line_num}: {error}") from error

    def _row(self, index: int, cells: list[str], column: str) -> Row:
        if len(cells) > len(self.names):
            error = f"its row has {len(cells)} cells, and the first line {len(self.names)}"
            return Row(index, error=f"{error}; quote cells with {self._separator!r} in them")
        columns = dict(zip(self.names, cells, strict=False))
        return Row(index, columns.pop(column, None), columns)


class _JsonLines:
    """An object on each line. The first tells the columns."""

    def __init__(self, path: str) -> None:
        self._path = path
        value = _parse(next(self._lines(), b"{}"))
        self.names = list(value) if isinstance(value, dict) else []

    def column(self, asked: str | None) -> str:
        return picture_column(self.names, asked, printable(self._path))

    def rows(self, column: str) -> Iterator[Row]:
        return (self._row(index, _parse(line), column) for index, line in enumerate(self._lines()))

    def count_rows(self) -> int:
        return sum(1 for _ in self._lines())

    def _lines(self) -> Iterator[bytes]:
        """Those that aren't empty."""
        try:
            with open(self._path, "rb") as file:
                while line := file.readline(_LONGEST):
                    if len(line) == _LONGEST and not line.endswith(b"\n"):
                        raise TableError(f"a line has more than {_LONGEST} bytes")
                    if line.strip():
                        yield line.removeprefix(_BOM)
        except OSError as error:
            raise TableError(error.strerror) from error

    def _row(self, index: int, value: Any, column: str) -> Row:
        if not isinstance(value, dict):
            return Row(index, error="its line is no JSON object")
        if column not in value:
            return Row(index, columns=value, error=f"its line has no {column!r}")
        return Row(index, value.pop(column), value)


def _open_text(path: str) -> TextIO:
    """Bytes that are not UTF-8 are lone surrogates, as in os.fsdecode."""
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _parse(line: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
