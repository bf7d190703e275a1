"""What came of the lines of batches, from when they are answered until it is in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..database import Database

SCHEMA = """
create table results (
    batch text not null,
    line integer not null,
    failed integer not null,
    record blob not null,
    primary key (batch, line)
) strict;
"""
_PAGE = 100


class Record(NamedTuple):
    """line: its number. failed: whether it belongs into the file of errors. data: the line of that
    file, or of the output, without its end."""

    line: int
    failed: bool
    data: bytes


class ResultStore:
    """Methods block, and several threads may call them. Raises OSError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        (total,) = database.one("select coalesce(sum(length(record)), 0) from results")
        #: Bytes of all records.
        self.num_bytes: int = total

    def add(self, batch: str, records: Sequence[Record]) -> None:
        """Keep records, all or none; of one line, the first."""
        added = 0
        with self._database.transaction():
            for line, failed, data in records:
                inserted = self._database.run(
                    "insert into results values (?, ?, ?, ?) on conflict do nothing",
                    batch,
                    line,
                    failed,
                    data,
                )
                added += len(data) * inserted.rowcount
        self.num_bytes += added

    def lines(self, batch: str) -> set[int]:
        """Those that have a record."""
        rows = self._database.all("select line from results where batch = ?", batch)
        return {line for (line,) in rows}

    def count(self, batch: str) -> tuple[int, int]:
        """Lines that were answered, and that failed."""
        total, failed = self._database.one(
            "select count(*), coalesce(sum(failed), 0) from results where batch = ?", batch
        )
        return total - failed, failed

    def records(self, batch: str) -> Iterator[Record]:
        """In the order of the lines, some at a time; the database may be used meanwhile."""
        query = (
            "select line, failed, record from results where batch = ? and line > ? "
            f"order by line limit {_PAGE}"
        )
        after = 0
        while found := self._database.all(query, batch, after):
            for line, failed, data in found:
                yield Record(line, bool(failed), data)
            after = found[-1][0]

    def drop(self, batch: str) -> int:
        """Forget those of a batch, within a transaction; returns their bytes, which are no longer
        to be counted once it is done."""
        (total,) = self._database.one(
            "select coalesce(sum(length(record)), 0) from results where batch = ?", batch
        )
        self._database.run("delete from results where batch = ?", batch)
        return int(total)
