"""Batches and where they stand, in a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ..database import Database

SCHEMA = """
create table batches (
    seq integer primary key autoincrement,
    id text not null unique,
    status text not null,
    input_file text not null,
    owner text not null,
    record blob not null
) strict;
"""

Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
#: Of batches that have not ended.
OPEN: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")


class LineError(msgspec.Struct, frozen=True):
    """What is wrong with an input file. line: from 1, None for the whole file. param: the field at
    fault."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """Lines of a batch: all, those with an answer, and those in the file of errors."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """As OpenAI's batch object has it; times are seconds of the epoch. model: by its served name.
    owner: the name of the API key that made it; nothing where the server asks for none. counts: of
    an open batch only the total is kept up to date."""

    id: str
    endpoint: str
    input_file_id: str
    model: str
    created_at: int
    expires_at: int
    owner: str = ""
    status: Status = "validating"
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: tuple[LineError, ...] = ()
    metadata: dict[str, str] | None = None
    counts: Counts = Counts()

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status in OPEN

    def to_json(self, counts: Counts, trouble: LineError | None) -> dict[str, Any]:
        """For a client. trouble: what keeps it from going on at present."""
        errors = self.errors + (() if trouble is None else (trouble,))
        told = msgspec.structs.asdict(self)
        del told["counts"], told["owner"]
        return told | {
            "object": "batch",
            "completion_window": "24h",
            "errors": {"object": "list", "data": [msgspec.structs.asdict(e) for e in errors]}
            if errors
            else None,
            "request_counts": msgspec.structs.asdict(counts),
        }


class BatchStore:
    """Methods block, and several threads may call them. Raises OSError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, batch: Batch) -> None:
        """Keep a new one."""
        self._database.run(
            "insert into batches (id, status, input_file, owner, record) values (?, ?, ?, ?, ?)",
            batch.id,
            batch.status,
            batch.input_file_id,
            batch.owner,
            msgspec.json.encode(batch),
        )

    def change(self, batch_id: str, of: Sequence[Status], **changes: Any) -> Batch | None:
        """Change fields of a batch whose status is one of these; None if it is another."""
        with self._database.transaction():
            batch = self.get(batch_id)
            if batch is None or batch.status not in of:
                return None
            batch = msgspec.structs.replace(batch, **changes)
            self._database.run(
                "update batches set status = ?, record = ? where id = ?",
                batch.status,
                msgspec.json.encode(batch),
                batch.id,
            )
        return batch

    def get(self, batch_id: str) -> Batch | None:
        """One of them."""
        found = self._database.one("select record from batches where id = ?", batch_id)
        return None if found is None else _decode(found[0])

    def open(self) -> list[Batch]:
        """Those that have not ended, the oldest first."""
        marks = ", ".join("?" * len(OPEN))
        query = f"select record from batches where status in ({marks}) order by seq"
        return [_decode(record) for (record,) in self._database.all(query, *OPEN)]

    def page(self, after: str | None, limit: int, owner: str) -> list[Batch] | None:
        """At most so many of an owner's, the newest first, behind the batch `after`; None if that
        is none of them."""
        query = "select record from batches where seq < ? and owner = ? order by seq desc limit ?"
        start = 2**62
        if after is not None:
            where = "where id = ? and owner = ?"
            found = self._database.one(f"select seq from batches {where}", after, owner)
            if found is None:
                return None
            (start,) = found
        return [_decode(record) for (record,) in self._database.all(query, start, owner, limit)]

    def user_of(self, file_id: str) -> str | None:
        """The id of an open batch whose input a file is."""
        marks = ", ".join("?" * len(OPEN))
        query = f"select id from batches where input_file = ? and status in ({marks})"
        found = self._database.one(query, file_id, *OPEN)
        return None if found is None else str(found[0])


def _decode(record: bytes) -> Batch:
    return msgspec.json.decode(record, type=Batch)
