"""A captioning job: from pictures to rows, each exactly once, whatever ends it meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.media.flatten import Colour
from ...core.protocol.media_limits import MediaLimits
from .backends.backend import Backend
from .interrupts import Interrupts
from .journal import Entry, Journal
from .pending_pictures import PendingPictures
from .picture import Picture, Skip
from .prompts.prompt_set import PromptSet
from .recorder import Output, Recorder
from .repeats import Repeats
from .sources.read import SourceReader
from .task import Skipped
from .task_maker import TaskMaker

#: For a first picture, before the model is loaded without knowing of one.
_PATIENCE_S = 1.0


class Watcher(Protocol):
    """Is told how a job goes, from several threads."""

    def started(self) -> None:
        """The model can answer, or isn't needed."""

    def wrote(self, entries: Sequence[Entry]) -> None:
        """Of pictures that were captioned, or failed."""

    def skipped(self, skip: Skip) -> None:
        """Of what is not captioned."""

    def had(self, picture: Picture) -> None:
        """Of a picture that an earlier run has captioned."""

    def begins(self, picture: Picture) -> None:
        """Of a picture that is read."""

    def interrupted(self, by: signal.Signals) -> None:
        """Of a first signal; a second ends the job at once."""


@dataclass(frozen=True)
class JobOptions:
    """dedupe: see Repeats. retry_failed: caption anew what failed in earlier runs. only_missing:
    leave what outputs have already. max_errors: pictures that may fail before the job ends."""

    dedupe: bool = False
    retry_failed: bool = False
    only_missing: bool = False
    max_errors: int | None = None


class TooManyErrors(Exception):  # noqa: N818 - as one says it
    """A job has ended at its `max_errors`."""


@dataclass(frozen=True)
class Job:
    """found: pictures, or what is none, of sources. limits, background: see TaskMaker.
    header: what outputs tell of the job, if they do."""

    found: Iterable[Picture | Skip]
    reader: SourceReader
    prompts: PromptSet
    limits: MediaLimits
    background: Colour
    backend: Backend
    outputs: Sequence[Output]
    journal: Journal
    header: dict[str, Any] | None
    options: JobOptions
    watcher: Watcher

    def run(self) -> signal.Signals | None:
        """Caption what has not been; returns the signal that ended it early, if one did.

        Raises OSError if an output can't be written, TooManyErrors, and what a backend raises. In
        any case, what was captioned by then is kept.
        """
        repeats = Repeats(self.journal, self.options.dedupe)
        errors = _ErrorCount(self.options.max_errors, self.backend.drain)

        def wrote(entries: Sequence[Entry], again: Sequence[str]) -> None:
            self.watcher.wrote(entries)
            for name in again:
                self.watcher.skipped(Skip("listed twice", name))
            errors.add(sum(entry.error is not None for entry in entries))

        recorder = Recorder(
            self.journal, self.outputs, self.prompts, repeats, self.reader.read, wrote
        )
        interrupts = Interrupts(self._interrupt)
        with ExitStack() as stack:
            recorder.begin(self.header)
            stack.callback(recorder.close)
            listing = self._listing()
            stack.callback(listing.close)
            has_work = not listing.is_empty(_PATIENCE_S)
            if has_work:
                self.backend.start()
            self.watcher.started()
            stack.enter_context(interrupts.handled())
            if has_work:
                self._caption(listing, self._task_maker(repeats), recorder)
        errors.check()
        return interrupts.received

    def _interrupt(self, by: signal.Signals) -> None:
        self.backend.drain()
        self.watcher.interrupted(by)

    def _caption(self, listing: PendingPictures, make: TaskMaker, recorder: Recorder) -> None:
        for outcome in self.backend.run(listing, make):
            if isinstance(outcome, Skipped):
                self.watcher.skipped(Skip(outcome.why, outcome.picture.name))
            else:
                recorder.put(outcome)

    def _listing(self) -> PendingPictures:
        is_there = self._finder() if self.options.only_missing else lambda picture: False
        return PendingPictures(
            self.found, self.journal, is_there, self.watcher.skipped, self.watcher.had
        )

    def _finder(self) -> Callable[[Picture], bool]:
        """Tells whether an output has a picture that the journal doesn't know."""
        output = self.outputs[0]
        names = frozenset(output.sink.names())
        return lambda p: output.show(p.name) in names or output.sink.has(p.path)

    def _task_maker(self, repeats: Repeats) -> TaskMaker:
        def obstacle(picture: Picture) -> str | None:
            self.watcher.begins(picture)
            for output in self.outputs:
                if (found := output.sink.obstacle(picture.path)) is not None:
                    return found
            return None

        return TaskMaker(self.reader, self.prompts, self.limits, self.background, obstacle, repeats)


class _ErrorCount:
    """on_too_many: is called once there are more errors than may be."""

    def __init__(self, limit: int | None, on_too_many: Callable[[], None]) -> None:
        self._limit = limit
        self._on_too_many = on_too_many
        self._count = 0

    def add(self, count: int) -> None:
        self._count += count
        if self._limit is not None and self._count >= self._limit:
            self._on_too_many()

    def check(self) -> None:
        if self._limit is not None and self._count >= self._limit:
            raise TooManyErrors(f"{self._count} pictures failed, and --max-errors is {self._limit}")
