"""Parquet, which can only be read with what stands at its end: so it is written as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ....core.protocol.errors import RequestError
from ...whole_files import naming_file, replacing, sync_folder
from ..picture import printable
from .destination import check_destination
from .fields import FILE, choose_fields
from .output_options import OutputOptions
from .parquet_tables import fits, schema_of, to_schema, to_table
from .row import Row
from .sink import START, Position

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

#: What is held in memory at a time.
ROWS_IN_GROUP = 10_000


class ParquetSink:
    """The journal keeps the rows; at the end of each run they are streamed, in row groups, into a
    file beside the output that then takes its place. A position is the number of rows in front
    that were there before the job, which adds to them.

    The header's parts are in the file's key-value metadata, as JSON.
    """

    takes_content = False

    def __init__(self, path: str, options: OutputOptions) -> None:
        """Raises RequestError without pyarrow."""
        _import_parquet()
        self._path = os.path.realpath(path)  # a link stays one
        self._options = options
        self._fields = choose_fields(options)
        self._header: dict[str, Any] = {}
        self._rows_before = 0

    def check(self) -> None:
        """See Sink."""
        check_destination(self._path, self._options)

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """See Sink; but what is there is replaced at the end only."""
        self._header = header or {}
        self._rows_before = position[1]
        if self._rows_before:
            self._check_rows_before()
        return position

    def write(self, rows: Sequence[Row]) -> Position:
        """Nothing: they are in the journal."""
        return 0, self._rows_before

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """See Sink."""
        parquet = _import_parquet()
        schema = schema_of(self._fields, rows, self._schema_before(), self._header)
        with (
            replacing(self._path) as temporary,
            naming_file(self._path),
            open(temporary, "wb") as file,
        ):
            with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
                for batch in self._batches_before():
                    writer.write_table(to_schema(batch, schema))
                remaining = rows()
                while group := list(islice(remaining, ROWS_IN_GROUP)):
                    writer.write_table(to_table(group, self._fields, schema))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(os.path.dirname(self._path))

    def obstacle(self, path: str | None) -> str | None:
        """None: any row can be written."""
        return None

    def names(self) -> Iterable[str]:
        """See Sink."""
        if not os.path.exists(self._path):
            return
        with self._open() as file:
            if FILE not in file.schema_arrow.names:
                raise RequestError(
                    f"{printable(self._path)} has no column {FILE!r}, so that what is missing "
                    "can't be told"
                )
            for batch in file.iter_batches(ROWS_IN_GROUP, columns=[FILE]):
                yield from (str(name) for name in batch.column(0).to_pylist() if name is not None)

    def end(self) -> Position:
        """Its columns must be ours."""
        if not os.path.exists(self._path) or not os.path.getsize(self._path):
            return START
        with self._open() as file:
            there = file.schema_arrow
            if not fits(there, self._fields):
                names = [field.name for field in self._fields]
                raise RequestError(
                    f"{printable(self._path)} has the columns {', '.join(there.names)}, and this "
                    f"job has {', '.join(names)}, or they have other types; name the same by "
                    "--fields, or another file with -o"
                )
            return 0, file.metadata.num_rows

    def has(self, path: str | None) -> bool:
        """False: `names` tells."""
        return False

    def _open(self) -> parquet.ParquetFile:
        """Raises RequestError for what is no Parquet."""
        import pyarrow

        try:
            return _import_parquet().ParquetFile(self._path)
        except (pyarrow.ArrowException, OSError) as error:
            raise RequestError(f"{printable(self._path)} can't be read: {error}") from error

    def _check_rows_before(self) -> None:
        there = 0
        if os.path.exists(self._path):
            with self._open() as file:
                there = file.metadata.num_rows
        if there < self._rows_before:
            raise RequestError(
                f"{printable(self._path)} has fewer rows than were there when the job began: "
                "somebody changed it; bring it back, or begin anew with --overwrite"
            )

    def _schema_before(self) -> pyarrow.Schema | None:
        if not self._rows_before:
            return None
        with self._open() as file:
            return file.schema_arrow

    def _batches_before(self) -> Iterator[pyarrow.RecordBatch]:
        """The rows that were there before the job."""
        if not self._rows_before:
            return
        left = self._rows_before
        with self._open() as file:
            for batch in file.iter_batches(ROWS_IN_GROUP):
                yield batch.slice(0, left)
                left -= min(left, batch.num_rows)
                if not left:
                    return


def _import_parquet() -> Any:
    """Raises RequestError if it isn't installed."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise RequestError(
            "Parquet needs pyarrow: pip install 'octavo[parquet]', or write .jsonl or .csv"
        ) from error
    return parquet
