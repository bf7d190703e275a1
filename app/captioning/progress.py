"""How a job gets on, on the error output: a line on a terminal, objects for machines, and at last a
summary."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Literal, Self, TextIO, get_args

from ...core.protocol.request_error import RequestError
from ...core.system.log_setup import logs_json
from .census import Census
from .progress_report import ProgressReport, Tally
from .progress_views import Bar, JsonObjects, Silence, SummaryAlone, View
from .rates import Rates

Kind = Literal["auto", "bar", "json", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Progress:
    """A context in which a job runs, and tells by `update` what it has done. At the end, be that an
    error, the summary is written.

    kind: "bar" is a line that is drawn anew; "json" an object in a line every few seconds, whose
        "event" is "progress", and "end" in the last; "none" is nothing at all. "auto" is a bar on a
        terminal, and elsewhere the summary alone. Where the log is JSON, "auto" is the last object.
    census: of what was skipped, for the summary.
    stream: in place of standard error.

    A thread of its own shows the numbers, so that `update` costs next to nothing, and something is
    seen of a job that hangs. An output that can't be written ends no job.
    """

    def __init__(
        self, kind: Kind = "auto", census: Census | None = None, stream: TextIO | None = None
    ) -> None:
        self._view = _view(kind, stream or sys.stderr)
        self._census = Census() if census is None else census
        self._tally = Tally()
        self._rates = Rates(time.monotonic())
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._rates = Rates(time.monotonic())
        if not _try(self._view.open):
            self._view = Silence()
        if self._view.interval is not None:
            self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        _try(lambda: self._view.close(self._report()))

    def update(
        self,
        *,
        captioned: int = 0,
        failed: int = 0,
        skipped: int = 0,
        done_before: int = 0,
        tokens: int = 0,
        cached: int = 0,
        name: str | None = None,
    ) -> None:
        """What came since the last call; from any thread. name: of a picture."""
        tally = self._tally
        with self._lock:
            tally.captioned += captioned
            tally.failed += failed
            tally.skipped += skipped
            tally.done_before += done_before
            tally.tokens += tokens
            tally.cached += cached
            if name is not None:
                tally.name = name

    def set_total(self, total: int | None) -> None:
        """How many pictures `update` will have been told of at the end; None if nobody knows."""
        with self._lock:
            self._tally.total = total

    @property
    def summary(self) -> str:
        """Of what has been done by now: a line, and one for each kind of what was skipped."""
        return self._report().summary()

    def _watch(self) -> None:
        while not self._ended.wait(self._view.interval):
            _try(lambda: self._view.show(self._report()))

    def _report(self) -> ProgressReport:
        with self._lock:
            tally, rates = replace(self._tally), self._rates
            rates.add(time.monotonic(), tally.answered, tally.tokens)
            return ProgressReport(tally, rates.seconds, rates.recent, rates.overall, self._census)


def _view(kind: Kind, stream: TextIO) -> View:
    """Raises RequestError for a kind that isn't known."""
    if kind not in KINDS:
        raise RequestError(f"--progress must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "json":
        return JsonObjects(stream)
    if kind == "bar" or (kind == "auto" and stream.isatty() and not logs_json()):
        return Bar(stream)
    return Silence() if kind == "none" else SummaryAlone(stream, as_json=logs_json())


def _try(show: Callable[[], None]) -> bool:
    """Whether the output could be written."""
    with suppress(OSError, ValueError):  # the latter for a closed stream
        show()
        return True
    return False
