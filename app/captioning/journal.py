"""What a job has done, on the disk: so that one that was killed goes on, and no row comes twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ...core.protocol.errors import RequestError
from ..database import Database, Fault, Schema
from .outputs.sink import START, Position
from .picture import Picture, UrlAt, name_bytes, printable

_SCHEMA = Schema(
    """
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
""",
    application=0x4F435456,
    version=1,
)


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
    """A database of one job at a time, which several threads may use.

    Raises JournalInUseError, RequestError if it is none, and OSError if it can't be written.
    """

    def __init__(self, path: Path | None) -> None:
        """path: None is a temporary file, which nobody can go on with."""
        self._path = "" if path is None else str(path)
        self._database = Database(self._path, _SCHEMA, self._refusal)

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the job's answers depend on; None at its first run."""
        (stored,) = self._database.one("select facts from state")
        return None if stored is None else dict(msgspec.json.decode(stored))

    def begin(self, facts: dict[str, Any], origins: Mapping[str, Position]) -> None:
        """Keep the facts of the first run, and where the job's rows begin in outputs that had
        others before."""
        encode = msgspec.json.encode
        self._database.run(
            "update state set facts = ?, origins = ?", encode(facts), encode(origins)
        )

    def origin(self, output: str) -> Position:
        """Where the job's rows begin in an output."""
        (origins,) = self._database.one("select origins from state")
        return msgspec.json.decode(origins, type=dict[str, Position]).get(output, START)

    @property
    def written(self) -> Written:
        """As it was last kept."""
        written, positions = self._database.one("select written, positions from state")
        return Written(written, msgspec.json.decode(positions, type=dict[str, Position]))

    def keep_written(self, written: Written) -> None:
        """That outputs have been written so far."""
        self._database.run(
            "update state set written = ?, positions = ?",
            written.last,
            msgspec.json.encode(written.positions),
        )

    def add(self, entries: Sequence[tuple[bytes, Entry]], written: Written) -> list[int]:
        """Keep entries by their keys, and what has been written, all or nothing; returns their
        numbers, 0 for one whose key is there already."""
        with self._database.transaction():
            numbers = [self._insert(key, entry) for key, entry in entries]
            self.keep_written(written)
        return numbers

    def _insert(self, key: bytes, entry: Entry) -> int:
        inserted = self._database.run(
            "insert into rows (key, asked, failed, entry) values (?, ?, ?, ?) "
            "on conflict do nothing",
            key,
            entry.asked,
            entry.error is not None,
            msgspec.msgpack.encode(entry),
        )
        return inserted.lastrowid or 0 if inserted.rowcount else 0

    def has(self, key: bytes) -> bool:
        """Whether a picture has been captioned, or has failed."""
        return self._database.one("select 1 from rows where key = ?", key) is not None

    def find(self, asked: bytes) -> Entry | None:
        """The first entry of the same content, asked the same, that has not failed."""
        found = self._database.one(
            "select entry from rows where asked = ? and not failed order by seq", asked
        )
        return None if found is None else msgspec.msgpack.decode(found[0], type=Entry)

    def pages(self, after: int = 0) -> Iterator[list[tuple[int, Entry]]]:
        """All entries with their numbers, in order, some at a time; the journal may be used
        meanwhile. after: the number before the first."""
        query = "select seq, entry from rows where seq > ? order by seq limit 1000"
        while found := self._database.all(query, after):
            decode = msgspec.msgpack.Decoder(Entry).decode
            yield [(number, decode(stored)) for number, stored in found]
            after = found[-1][0]

    def count(self) -> tuple[int, int]:
        """Pictures that were captioned, and that failed."""
        total, failed = self._database.one("select count(*), coalesce(sum(failed), 0) from rows")
        return total - failed, failed

    def forget_failed(self, without: Collection[str]) -> int:
        """Let pictures that failed be captioned again; returns how many there were. Outputs are
        then to be written anew, but for those `without` any of them."""
        with self._database.transaction():
            forgotten = self._database.run("delete from rows where failed").rowcount
            known = self.written
            kept = {name: place for name, place in known.positions.items() if name in without}
            if forgotten:
                self.keep_written(Written(known.last, kept))
        return forgotten

    def forget_unwritten(self) -> None:
        """Let pictures be captioned again that outputs don't have, as what they take of them is
        not kept here."""
        self._database.run("delete from rows where seq > ?", self.written.last)

    def close(self) -> None:
        """Let other jobs have it."""
        self._database.close()

    def _refusal(self, fault: Fault, detail: str) -> RequestError:
        shown = printable(self._path)
        if fault == "in use":
            return JournalInUseError(
                f"{shown} is in use: another octavo caption writes the same output; wait for its "
                "end, or name another output"
            )
        if fault == "foreign":
            return RequestError(f"{shown} is no journal of this version; --overwrite starts anew")
        return RequestError(
            f"{shown} is no journal, or damaged ({detail}); --overwrite starts anew"
        )
