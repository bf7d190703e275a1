"""Parquet files, and Arrow files as `datasets` saves them, by pyarrow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from ....core.protocol.errors import RequestError
from ..picture import printable
from .columns import picture_column
from .tables import Row, TableError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise RequestError(
        "Parquet and Arrow files are read by pyarrow: pip install 'octavo[parquet]'"
    ) from error

#: Rows in memory at once: a few of pictures, many of paths.
_PICTURES, _PATHS = 16, 1024
_BUFFER = 2**20
_FILE_FORMAT = b"ARROW1"  # as opposed to the streaming format


class _Typed:
    """A table whose columns have types."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.names: list[str] = schema.names
        self._shown = printable(path)
        self._types = dict(zip(schema.names, schema.types, strict=True))

    def column(self, asked: str | None) -> str:
        """Raises RequestError, also for a column of another type than pictures can have."""
        column = picture_column(self.names, asked, self._shown, self._sure())
        if not (_is_text(self._types[column]) or _is_picture(self._types[column])):
            raise RequestError(
                f"{self._shown}: the column {column!r} is of type {self._types[column]}, which is "
                "neither paths or URLs nor bytes; name another by --column"
            )
        return column

    def embeds_pictures(self, asked: str | None) -> bool:
        """Whether the pictures are in the table itself."""
        with suppress(RequestError):
            return _is_picture(self._types[self.column(asked)])
        return False

    def _sure(self) -> list[str]:
        return [name for name, kind in self._types.items() if _is_picture(kind)]

    def _read(
        self, column: str, batches: Callable[[list[str], int], Iterable[Any]]
    ) -> Iterator[Row]:
        others = [n for n, kind in self._types.items() if n != column and not _has_bytes(kind)]
        size = _PICTURES if _is_picture(self._types[column]) else _PATHS
        index = 0
        try:
            for batch in batches([column, *others], size):
                for row in batch.to_pylist():
                    yield Row(index, row.pop(column), row)
                    index += 1
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"after row {index}: {error}") from error


class ParquetTable(_Typed):
    """A few rows of a row group are held at a time."""

    def __init__(self, path: str) -> None:
        try:
            self._source = pa.OSFile(os.fsencode(path))
            self._file = pq.ParquetFile(
                self._source, buffer_size=_BUFFER, page_checksum_verification=True
            )
        except (pa.ArrowException, OSError) as error:
            raise TableError(str(error)) from error
        super().__init__(path, self._file.schema_arrow)

    def rows(self, column: str) -> Iterator[Row]:
        """Raises TableError."""

        def batches(names: list[str], size: int) -> Iterable[Any]:
            found: Iterable[Any] = self._file.iter_batches(size, columns=names, use_threads=False)
            return found

        with self._source:
            yield from self._read(column, batches)

    def count_rows(self) -> int:
        """As the file says."""
        return int(self._file.metadata.num_rows)


class ArrowTable(_Typed):
    """In either of Arrow's formats; mapped, so that only pages in use are in memory."""

    def __init__(self, path: str) -> None:
        try:
            self._source = pa.memory_map(os.fsencode(path))
            is_file = self._source.read(len(_FILE_FORMAT)) == _FILE_FORMAT
            self._source.seek(0)
            opened = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(self._source)
        except (pa.ArrowException, OSError) as error:
            raise TableError(str(error)) from error
        self._opened = opened
        self._is_file = is_file
        super().__init__(path, opened.schema)

    def rows(self, column: str) -> Iterator[Row]:
        """Raises TableError."""

        def batches(names: list[str], size: int) -> Iterator[Any]:
            for batch in self._batches():
                chosen = batch.select(names)
                for begin in range(0, chosen.num_rows, size):
                    yield chosen.slice(begin, size)

        with self._source:
            yield from self._read(column, batches)

    def count_rows(self) -> int:
        """Raises TableError."""
        try:
            return sum(batch.num_rows for batch in self._batches())
        except (pa.ArrowException, OSError) as error:
            raise TableError(str(error)) from error

    def _batches(self) -> Iterator[Any]:
        if self._is_file:
            return map(self._opened.get_batch, range(self._opened.num_record_batches))
        return iter(self._opened)


def open_shard(path: str, asked: str | None) -> ParquetTable | ArrowTable | None:
    """A file of a data set, if its pictures are in it. `datasets` leaves results that it caches
    beside what it saves; they are none."""
    if os.path.basename(path).startswith("cache-"):
        return None
    try:
        table = ParquetTable(path) if path.endswith(".parquet") else ArrowTable(path)
    except TableError:
        return None
    return table if table.embeds_pictures(asked) else None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    fixed = types.is_fixed_size_binary(kind) and not types.is_decimal(kind)
    return bool(
        fixed or types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    )


def _is_picture(kind: pa.DataType) -> bool:
    """Bytes, or {"bytes": ..., "path": ...} as `datasets` has it."""
    if not pa.types.is_struct(kind):
        return _is_bytes(kind)
    return any(inner.name == "bytes" and _is_bytes(inner.type) for inner in kind.fields)


def _has_bytes(kind: pa.DataType) -> bool:
    """Anywhere in it."""
    if pa.types.is_nested(kind):
        return any(_has_bytes(kind.field(index).type) for index in range(kind.num_fields))
    return _has_bytes(kind.value_type) if pa.types.is_dictionary(kind) else _is_bytes(kind)
