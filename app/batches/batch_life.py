"""The way of one batch from its input file to its output: checked, run, written."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from .answers import Ask, unanswered
from .batch_line import InvalidLineError
from .batch_store import OPEN, Batch, Counts, LineError, Status
from .file_store import StoredFile
from .input_file import LineRules, check_file, lines_of
from .line_runs import run_lines
from .recorder import RETRY_S, Recorder
from .storage import Storage

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Between looks at the clock, which may be set meanwhile.
_LOOK_S = 1.0
#: Of lines that were not answered, in the file of errors.
_EXPIRED = (
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
_CANCELLED = (
    "batch_cancelled",
    "This request could not be executed before the batch was cancelled.",
)


@dataclass(frozen=True)
class Server:
    """What the batches of a server share; see Batches. slots: for lines that run."""

    storage: Storage
    ask: Ask
    alive: Callable[[], bool]
    rules: LineRules
    slots: asyncio.Semaphore
    clock: Callable[[], float]

    @property
    def now(self) -> int:
        """In seconds of the epoch."""
        return int(self.clock())


class BatchLife:
    """What has been done is in the storage, so that another process can go on from any point.

    cancelled: to be set once its status says so.
    """

    def __init__(self, batch: Batch, server: Server) -> None:
        self.cancelled = asyncio.Event()
        self._batch = batch
        self._server = server
        self._storage = server.storage
        self._rules = replace(server.rules, urls=(batch.endpoint,))
        self._path = self._storage.files.path(batch.input_file_id)
        self._trouble: str | None = None
        self._recorder: Recorder | None = None

    @property
    def trouble(self) -> str | None:
        """What keeps it from going on at present."""
        if self._trouble is None and self._recorder is not None:
            return self._recorder.trouble
        return self._trouble

    async def run(self) -> None:
        """Until it has ended."""
        try:
            if self._batch.status == "validating":
                await self._check()
            if self._batch.status == "in_progress":
                await self._answer()
            if self._batch.is_open:
                await self._finish()
        except InvalidLineError as error:  # of a file that was good before
            await self._fail((error.told,), self._batch.counts.total)
        except FileNotFoundError:
            gone = LineError("file_not_found", f"{self._batch.input_file_id} is gone")
            await self._fail((gone,), self._batch.counts.total)

    async def _check(self) -> None:
        checked = await self._patiently(lambda: check_file(self._path, self._rules))
        if checked.errors:
            await self._fail(checked.errors, checked.total)
            return
        await self._change(
            ("validating",),
            status="in_progress",
            in_progress_at=self._server.now,
            counts=Counts(checked.total),
        )

    async def _answer(self) -> None:
        """Until all lines have been answered, or it is cancelled or expires."""
        batch_id, server = self._batch.id, self._server
        ask = partial(server.ask, owner=self._batch.owner)
        done = await asyncio.to_thread(self._storage.results.lines, batch_id)
        lines = (line for line in lines_of(self._path, self._rules) if line.number not in done)
        async with Recorder(lambda records: self._storage.keep(batch_id, records)) as recorder:
            self._recorder = recorder
            work = asyncio.ensure_future(
                run_lines(lines, ask, recorder.keep, server.slots, server.alive)
            )
            ends = [asyncio.ensure_future(end) for end in (self.cancelled.wait(), self._expire())]
            try:
                await asyncio.wait([work, *ends], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (work, *ends):
                    task.cancel()
                await asyncio.gather(work, *ends, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error
        await self._change(("in_progress",), status="finalizing", finalizing_at=self._server.now)

    async def _expire(self) -> None:
        while (left := self._batch.expires_at - self._server.clock()) > 0:
            await asyncio.sleep(min(left, _LOOK_S))

    async def _finish(self) -> None:
        outputs = await self._patiently(self._write)
        batch, now = self._batch, self._server.now
        changes: dict[str, Any]
        if batch.status == "cancelling":
            changes = {"status": "cancelled", "cancelled_at": now}
        elif outputs.is_whole:
            changes = {"status": "completed", "completed_at": now}
        else:
            changes = {"status": "expired", "expired_at": now}
        ids = {file.id for file in outputs.files}
        changes |= {
            "counts": outputs.counts,
            "output_file_id": self._file_id("output") if self._file_id("output") in ids else None,
            "error_file_id": self._file_id("errors") if self._file_id("errors") in ids else None,
        }
        await self._patiently(
            lambda: self._storage.end(batch.id, (batch.status,), outputs.files, **changes)
        )

    def _write(self) -> _Outputs:
        """What came of the lines, into files that nobody knows of yet."""
        batch, results = self._batch, self._storage.results
        done = results.lines(batch.id)
        completed, failed = results.count(batch.id)
        left = batch.counts.total - len(done)
        reason = _CANCELLED if batch.status == "cancelling" else _EXPIRED
        answers = (record.data for record in results.records(batch.id) if not record.failed)
        failures = (record.data for record in results.records(batch.id) if record.failed)
        rest = (
            unanswered(line, *reason).data
            for line in lines_of(self._path, self._rules)
            if line.number not in done
        )
        files = []
        if completed:
            files.append(self._write_file("output", answers))
        if failed + left:
            files.append(self._write_file("errors", itertools.chain(failures, rest)))
        counts = Counts(batch.counts.total, completed, failed + left)
        return _Outputs(tuple(files), counts, not left)

    def _write_file(self, kind: str, lines: Iterator[bytes]) -> StoredFile:
        file_id = self._file_id(kind)
        num_bytes = self._storage.files.write(file_id, (line + b"\n" for line in lines))
        name = f"{self._batch.id}_{kind}.jsonl"
        owner = self._batch.owner
        return StoredFile(file_id, num_bytes, self._server.now, name, "batch_output", owner)

    def _file_id(self, kind: str) -> str:
        """The same whenever it is written, so that there is one, however often it is begun."""
        return f"file-{self._batch.id.removeprefix('batch_')}-{kind}"

    async def _fail(self, errors: tuple[LineError, ...], total: int) -> None:
        changes = {
            "status": "failed",
            "failed_at": self._server.now,
            "errors": errors,
            "counts": Counts(total),
        }
        await self._patiently(lambda: self._storage.end(self._batch.id, OPEN, (), **changes))

    async def _change(self, of: tuple[Status, ...], **changes: Any) -> None:
        """Its status may have been changed meanwhile."""

        def change() -> Batch | None:
            batches = self._storage.batches
            return batches.change(self._batch.id, of, **changes) or batches.get(self._batch.id)

        changed = await self._patiently(change)
        assert changed is not None
        self._batch = changed

    async def _patiently(self, work: Callable[[], Result]) -> Result:
        """Do work in a thread, again and again until the disk has room for it."""
        while True:
            try:
                result = await asyncio.to_thread(work)
            except FileNotFoundError:
                raise
            except OSError as error:
                self._trouble = f"the batch's files can't be used: {error}"
                logger.error("%s: %s; trying again", self._batch.id, self._trouble)
                await asyncio.sleep(RETRY_S)
            else:
                self._trouble = None
                return result


class _Outputs(NamedTuple):
    """is_whole: whether every line was answered, or failed."""

    files: tuple[StoredFile, ...]
    counts: Counts
    is_whole: bool
