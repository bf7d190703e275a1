"""What a job has done, on the disk: so that one that was killed goes on, and no row comes twice."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ...core.protocol.errors import RequestError
from .outputs.sink import START, Position
from .picture import Picture, UrlAt, name_bytes, printable

_VERSION = 1
_APPLICATION_ID = 0x4F435456
_SCHEMA = """
create table rows (
    seq integer primary key autoincrement,
    key blob not null unique,
    asked blob,
    failed integer not null,
    entry blob not null
) strict;
create index rows_by_asked on rows (asked) where asked is not null;
create table state (id integer primary key check (id = 1), facts blob, written integer,
    positions blob, origins blob) strict;
insert into state values (1, null, 0, x'7b7d', x'7b7d');
"""
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}


class JournalInUseError(RequestError):
    """Another job has it."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a picture that was captioned, or failed.

    name: as its source had it; bytes that are not UTF-8 as in os.fsencode. path: of its file.
    asked: a digest of its content and of what was asked; None of one that could not be read.
    texts, facts, error: see Row. columns: of its table, which may be called as facts are.
    """

    name: bytes
    path: bytes | None
    asked: bytes | None
    texts: dict[str, str]
    error: str | None
    facts: dict[str, Any]
    columns: dict[str, Any] = {}


@dataclass(frozen=True)
class Written:
    """What outputs have. last: the number of the last entry; positions: by the name of the output,
    after it, of those that have begun."""

    last: int
    positions: dict[str, Position] = field(default_factory=dict)


def key_of(picture: Picture) -> bytes:
    """What identifies a picture from one run to the next: the absolute path of its file or
    archive, or its URL."""
    is_url = isinstance(picture.at, UrlAt)
    name = picture.name if is_url else os.path.abspath(picture.name)
    return hashlib.blake2b(name_bytes(name), digest_size=16).digest()


class Journal:
    """A SQLite database. Several threads may use it; one job at a time.

    Its transactions are on the disk when they return; it needs no more of a file system than
    locks and fsync, so that it works on network shares too.

    Raises JournalInUseError, RequestError if it is none, and OSError if it can't be written.
    """

    def __init__(self, path: Path | None) -> None:
        """path: None is a temporary file, which nobody can go on with."""
        # SQLite's own name for that.
        self._path = "" if path is None else str(path)
        self._lock = threading.RLock()
        with self._telling():
            self._database = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._database.close()
                raise

    def _open(self) -> None:
        run = self._database.execute
        # One lock from here to the end, which also spares the shared memory of other modes.
        run("pragma locking_mode = exclusive")
        run("pragma journal_mode = delete")
        run("pragma synchronous = full")
        run("begin exclusive")
        (version,) = run("pragma user_version").fetchone()
        (application,) = run("pragma application_id").fetchone()
        if (version, application) == (0, 0) and not run("select 1 from sqlite_master").fetchone():
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            run(f"pragma user_version = {_VERSION}")
            run(f"pragma application_id = {_APPLICATION_ID}")
        elif (version, application) != (_VERSION, _APPLICATION_ID):
            raise RequestError(
                f"{self._shown} is no journal of this version; --overwrite starts anew"
            )
        run("commit")

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the job's answers depend on; None at its first run."""
        (stored,) = self._one("select facts from state")
        return None if stored is None else dict(msgspec.json.decode(stored))

    def begin(self, facts: dict[str, Any], origins: Mapping[str, Position]) -> None:
        """Keep the facts of the first run, and where the job's rows begin in outputs that had
        others before."""
        encode = msgspec.json.encode
        self._do("update state set facts = ?, origins = ?", encode(facts), encode(origins))

    def origin(self, output: str) -> Position:
        """Where the job's rows begin in an output."""
        (origins,) = self._one("select origins from state")
        return msgspec.json.decode(origins, type=dict[str, Position]).get(output, START)

    @property
    def written(self) -> Written:
        """As it was last kept."""
        written, positions = self._one("select written, positions from state")
        return Written(written, msgspec.json.decode(positions, type=dict[str, Position]))

    def keep_written(self, written: Written) -> None:
        """That outputs have been written so far."""
        self._do(
            "update state set written = ?, positions = ?",
            written.last,
            msgspec.json.encode(written.positions),
        )

    def add(self, entries: Sequence[tuple[bytes, Entry]], written: Written) -> list[int]:
        """Keep entries by their keys, and what has been written, all or nothing; returns their
        numbers, 0 for one whose key is there already."""
        with self._transaction():
            numbers = [self._insert(key, entry) for key, entry in entries]
            self.keep_written(written)
        return numbers

    def _insert(self, key: bytes, entry: Entry) -> int:
        inserted = self._database.execute(
            "insert into rows (key, asked, failed, entry) values (?, ?, ?, ?) "
            "on conflict do nothing",
            (key, entry.asked, entry.error is not None, msgspec.msgpack.encode(entry)),
        )
        return inserted.lastrowid or 0 if inserted.rowcount else 0

    def has(self, key: bytes) -> bool:
        """Whether a picture has been captioned, or has failed."""
        return self._one("select 1 from rows where key = ?", key) is not None

    def find(self, asked: bytes) -> Entry | None:
        """The first entry of the same content, asked the same, that has not failed."""
        found = self._one(
            "select entry from rows where asked = ? and not failed order by seq", asked
        )
        return None if found is None else msgspec.msgpack.decode(found[0], type=Entry)

    def pages(self, after: int = 0) -> Iterator[list[tuple[int, Entry]]]:
        """All entries with their numbers, in order, some at a time; the journal may be used
        meanwhile. after: the number before the first."""
        query = "select seq, entry from rows where seq > ? order by seq limit 1000"
        while found := self._all(query, after):
            decode = msgspec.msgpack.Decoder(Entry).decode
            yield [(number, decode(stored)) for number, stored in found]
            after = found[-1][0]

    def count(self) -> tuple[int, int]:
        """Pictures that were captioned, and that failed."""
        total, failed = self._one("select count(*), coalesce(sum(failed), 0) from rows")
        return total - failed, failed

    def forget_failed(self, without: Collection[str]) -> int:
        """Let pictures that failed be captioned again; returns how many there were. Outputs are
        then to be written anew, but for those `without` any of them."""
        with self._transaction():
            forgotten = self._database.execute("delete from rows where failed").rowcount
            known = self.written
            kept = {name: place for name, place in known.positions.items() if name in without}
            if forgotten:
                self.keep_written(Written(known.last, kept))
        return forgotten

    def forget_unwritten(self) -> None:
        """Let pictures be captioned again that outputs don't have, as what they take of them is
        not kept here."""
        self._do("delete from rows where seq > ?", self.written.last)

    def close(self) -> None:
        """Let other jobs have it."""
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and on the disk."""
        with self._telling(), self._lock:
            self._database.execute("begin")
            try:
                yield
                self._database.execute("commit")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # it may have been rolled back already
                    self._database.execute("rollback")
                raise

    def _do(self, statement: str, *values: Any) -> None:
        with self._telling(), self._lock:
            self._database.execute(statement, values)

    def _one(self, query: str, *values: Any) -> Any:
        with self._telling(), self._lock:
            return self._database.execute(query, values).fetchone()

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._telling(), self._lock:
            return self._database.execute(query, values).fetchall()

    @property
    def _shown(self) -> str:
        return printable(self._path)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of SQLite as others know them."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_BUSY:
                raise JournalInUseError(
                    f"{self._shown} is in use: another octavo caption writes the same output; "
                    "wait for its end, or name another output"
                ) from error
            raise OSError(_ERRNO.get(code, errno.EIO), str(error), self._path) from error
        except sqlite3.DatabaseError as error:
            raise RequestError(
                f"{self._shown} is no journal, or damaged ({error}); --overwrite starts anew"
            ) from error
