"""Files of clients and of batches: their bytes in a folder, what is known of them in a database."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from ..database import Database
from ..whole_files import sync_folder, write_whole

Purpose = Literal["batch", "batch_output"]

SCHEMA = """
create table files (
    seq integer primary key autoincrement,
    id text not null unique,
    bytes integer not null,
    purpose text not null,
    owner text not null,
    record blob not null
) strict;
"""
_PIECE = 2**20
_TEMPORARY = ".tmp"


class StoredFile(msgspec.Struct, frozen=True):
    """As OpenAI's file object has it. bytes: its size. created_at: in seconds of the epoch. owner:
    see Batch."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    owner: str = ""

    def to_json(self) -> dict[str, Any]:
        """For a client."""
        told = msgspec.structs.asdict(self)
        del told["owner"]
        return {**told, "object": "file", "status": "processed"}


@dataclass(frozen=True)
class FileLimits:
    """Bytes of one file of a client, and of all files and answers together."""

    max_file_bytes: int
    max_bytes: int


class FileStore:
    """Methods block, and several threads may call them. A file is there whole or not at all.

    Raises OSError if the disk is full or the files are as many bytes as they may be (ENOSPC).
    """

    def __init__(self, database: Database, folder: Path, limits: FileLimits) -> None:
        """What a process that was killed has left half-written is deleted."""
        self.limits = limits
        self._database = database
        self._folder = folder
        self._lock = threading.Lock()
        #: Of files that are being written.
        self._reserved = 0
        folder.mkdir(mode=0o700, exist_ok=True)
        known = {name for (name,) in database.all("select id from files")}
        for path in folder.iterdir():
            if path.name not in known:
                path.unlink()

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        (total,) = self._database.one("select coalesce(sum(bytes), 0) from files")
        return int(total)

    def add(
        self,
        source: BinaryIO,
        size: int,
        filename: str,
        now: int,
        others: int,
        owner: str = "",
    ) -> StoredFile:
        """Keep a client's file. size: of the source, in bytes. others: bytes that something else
        than files takes."""
        stored = StoredFile(f"file-{uuid.uuid4().hex}", size, now, filename, "batch", owner)
        with self._reserving(size, others):
            self.write(stored.id, iter(lambda: source.read(_PIECE), b""))
            self.insert(stored)
        return stored

    def write(self, file_id: str, pieces: Iterable[bytes]) -> int:
        """The bytes of a file that nobody knows of before `insert`; returns their number. What was
        written by that name before is replaced."""
        path = self.path(file_id)
        temporary = path.with_name(f"{file_id}{_TEMPORARY}")
        num_bytes = 0
        try:
            with FileIO(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                for piece in pieces:
                    write_whole(f, piece)
                    num_bytes += len(piece)
                os.fsync(f.fileno())
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(str(self._folder))
        return num_bytes

    def insert(self, stored: StoredFile) -> None:
        """Let clients know of a file that was written; within a transaction, with that."""
        self._database.run(
            "insert into files (id, bytes, purpose, owner, record) values (?, ?, ?, ?, ?)",
            stored.id,
            stored.bytes,
            stored.purpose,
            stored.owner,
            msgspec.json.encode(stored),
        )

    def get(self, file_id: str) -> StoredFile | None:
        """What is known of a file."""
        found = self._database.one("select record from files where id = ?", file_id)
        return None if found is None else _decode(found[0])

    def path(self, file_id: str) -> Path:
        """Where the bytes are. file_id: of a file that is known."""
        return self._folder / file_id

    def page(
        self,
        after: str | None,
        limit: int,
        newest_first: bool,
        purpose: str | None,
        owner: str,
    ) -> list[StoredFile] | None:
        """At most so many of an owner's, of a purpose if one is given, behind the file `after`;
        None if that is none of them."""
        start = 0
        if after is not None:
            where = "where id = ? and owner = ?"
            found = self._database.one(f"select seq from files {where}", after, owner)
            if found is None:
                return None
            (start,) = found
        way, order = ("<", "desc") if newest_first else (">", "asc")
        rows = self._database.all(
            f"select record from files where (? = 0 or seq {way} ?) and purpose = "
            f"coalesce(?, purpose) and owner = ? order by seq {order} limit ?",
            start,
            start,
            purpose,
            owner,
            limit,
        )
        return [_decode(record) for (record,) in rows]

    def delete(self, file_id: str) -> None:
        """Let a file go. Those who read it have it to its end."""
        self._database.run("delete from files where id = ?", file_id)
        with contextlib.suppress(FileNotFoundError):
            self.path(file_id).unlink()

    @contextlib.contextmanager
    def _reserving(self, size: int, others: int) -> Iterator[None]:
        with self._lock:
            taken = self.num_bytes + self._reserved + others
            if taken + size > self.limits.max_bytes:
                raise OSError(
                    errno.ENOSPC,
                    f"files and answers of batches take {taken} of the {self.limits.max_bytes} "
                    "bytes that they may",
                )
            self._reserved += size
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= size


def _decode(record: bytes) -> StoredFile:
    return msgspec.json.decode(record, type=StoredFile)
