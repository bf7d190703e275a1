"""Runs a plan, and tells how it goes."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from ...core.protocol.errors import RequestError
from .backends.backend import Backend
from .census import Census, one_line
from .job import TooManyErrors
from .journal import Entry
from .picture import Picture, Skip, printable
from .plan import Plan
from .progress import Progress
from .sources.count import count_candidates
from .sources.read import SourceReader

#: Failures that are told one by one where no output has them.
_TOLD = 10


@dataclass
class Result:
    """What a run has done. captioned, failed, repeated: in this run, the latter by taking over
    another's caption. done_before: by earlier ones. failed_in_all: in any run.
    skipped: by kind. ended_by: the signal that ended it early, and too_many_errors: its limit."""

    captioned: int = 0
    failed: int = 0
    repeated: int = 0
    done_before: int = 0
    failed_in_all: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    ended_by: signal.Signals | None = None
    too_many_errors: bool = False


def run_plan(
    plan: Plan,
    backend: Backend,
    reader: SourceReader,
    progress: Progress,
    census: Census,
    resume_hint: str,
) -> Result:
    """Run it to its end. resume_hint: how to go on, for one who ends it early.

    Raises what Job.run does, but for TooManyErrors.
    """
    watcher = _Watcher(progress, census, backend, tells=not plan.destination.shows_failures)
    watcher.resume_hint = resume_hint
    # What can't begin has no summary.
    with plan.job(backend, reader, watcher) as job, ExitStack() as stack:

        def start() -> None:
            stack.enter_context(progress)
            # Not before, as looking at a million names keeps a model from being loaded.
            _count_in_background(plan, progress)

        watcher.on_start = start
        try:
            watcher.result.ended_by = job.run()
        except TooManyErrors:
            watcher.result.too_many_errors = True
        _, watcher.result.failed_in_all = job.journal.count()
    watcher.result.skipped = census.to_json()
    return watcher.result


def _count_in_background(plan: Plan, progress: Progress) -> None:
    def count() -> None:
        # An estimate that can't be made is none.
        with contextlib.suppress(RequestError, OSError):
            progress.set_total(count_candidates(plan.sources, plan.source_options))

    threading.Thread(target=count, name="octavo-count", daemon=True).start()


class _Watcher:
    """See Watcher. tells: of failures, on the standard error."""

    def __init__(self, progress: Progress, census: Census, backend: Backend, tells: bool) -> None:
        self.result = Result()
        self.resume_hint = ""
        self.on_start: Callable[[], object] = lambda: None
        self._progress = progress
        self._census = census
        self._backend = backend
        self._tells = tells
        self._cached = 0

    def started(self) -> None:
        """See Watcher."""
        self.on_start()

    def wrote(self, entries: Sequence[Entry]) -> None:
        """See Watcher."""
        failed = [entry for entry in entries if entry.error is not None]
        before = self.result.failed
        self.result.failed += len(failed)
        self.result.captioned += len(entries) - len(failed)
        self.result.repeated += sum("duplicate_of" in entry.facts for entry in entries)
        self._progress.update(
            captioned=len(entries) - len(failed),
            failed=len(failed),
            tokens=sum(_num_tokens(entry) for entry in entries),
            cached=self._newly_cached(),
        )
        if self._tells:
            self._tell(failed, before)

    def skipped(self, skip: Skip) -> None:
        """See Watcher."""
        self._census.add(skip)
        self._progress.update(skipped=1)

    def had(self, picture: Picture) -> None:
        """See Watcher."""
        self.result.done_before += 1
        self._progress.update(done_before=1)

    def begins(self, picture: Picture) -> None:
        """See Watcher."""
        self._progress.update(name=picture.name)

    def interrupted(self, by: signal.Signals) -> None:
        """See Watcher."""
        again = "; again to stop at once" if by == signal.SIGINT else ""
        print(f"\noctavo: finishing what runs{again}. {self.resume_hint}", file=sys.stderr)

    def _newly_cached(self) -> int:
        cached = int(self._backend.progress().get("cache_hits", 0))
        new, self._cached = cached - self._cached, cached
        return new

    def _tell(self, failed: Sequence[Entry], before: int) -> None:
        for entry in failed[: max(0, _TOLD - before)]:
            name = one_line(entry.name.decode("utf-8", "surrogateescape"))
            print(f"octavo: {name}: {printable(entry.error or '')}", file=sys.stderr)
        if before < _TOLD <= before + len(failed):
            print("octavo: further failures are counted; --errors FILE has all", file=sys.stderr)


def _num_tokens(entry: Entry) -> int:
    if "duplicate_of" in entry.facts:
        return 0
    return sum(entry.facts.get("completion_tokens", {}).values())
