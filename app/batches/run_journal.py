"""What a run over a file, without a server, has done: so that one that was killed goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ...core.protocol.errors import RequestError
from ..database import Database, Fault, Schema
from . import result_store
from .result_store import Record, ResultStore

_SCHEMA = Schema(
    "create table state (id integer primary key check (id = 1), facts blob not null) strict;\n"
    + result_store.SCHEMA,
    application=0x4F43524A,
    version=1,
)
#: By which the records of the one file are known.
_BATCH = "run"


class RunFacts(msgspec.Struct, frozen=True):
    """What a run is of. digest: of the input. model: by its served name. counts: lines in the
    output that were answered, and that failed, once it is there."""

    digest: str
    model: str
    counts: tuple[int, int] | None = None


class RunJournal:
    """Beside the output. Raises RequestError if it is in use or none, and OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = Database(str(path), _SCHEMA, self._refusal)
        self.results = ResultStore(self._database)

    def close(self) -> None:
        """Let another run have it."""
        self._database.close()

    @property
    def facts(self) -> RunFacts | None:
        """Those of the run that began it, if one has."""
        found = self._database.one("select facts from state")
        return None if found is None else msgspec.json.decode(found[0], type=RunFacts)

    def begin(self, facts: RunFacts) -> None:
        """Keep the facts of the first run."""
        self._database.run("insert into state values (1, ?)", msgspec.json.encode(facts))

    def forget(self) -> None:
        """All of it, as if no run had begun."""
        with self._database.transaction():
            self._database.run("delete from state")
            self.results.drop(_BATCH)

    def keep(self, records: Sequence[Record]) -> None:
        """What came of lines."""
        self.results.add(_BATCH, records)

    def lines(self) -> set[int]:
        """Those that have a record."""
        return self.results.lines(_BATCH)

    def count(self) -> tuple[int, int]:
        """Lines that were answered, and that failed."""
        return self.results.count(_BATCH)

    def records(self) -> Iterator[Record]:
        """In the order of the lines."""
        return self.results.records(_BATCH)

    def end(self, facts: RunFacts) -> None:
        """The output is there; what came of lines need no longer be here."""
        with self._database.transaction():
            self._database.run("update state set facts = ?", msgspec.json.encode(facts))
            self.results.drop(_BATCH)

    def _refusal(self, fault: Fault, detail: str) -> RequestError:
        if fault == "in use":
            return RequestError(
                f"{self._path} is in use: another octavo run-batch writes the same output; wait "
                "for its end, or name another output"
            )
        if fault == "foreign":
            return RequestError(f"{self._path} is no journal of this version of octavo run-batch")
        return RequestError(f"{self._path} is no journal, or damaged ({detail})")
