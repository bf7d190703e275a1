"""Ways to show how a job gets on."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from typing import Any, Protocol, TextIO

from .progress_report import ProgressReport

#: tqdm's, with a total and without.
_WITH_TOTAL = "{percentage:3.0f}%|{bar:10}| {desc}"
_WITHOUT_TOTAL = "{desc}"
#: Of a line that is cut to the terminal's width anyway, which takes long for a long one.
_MAX_LINE = 400


class View(Protocol):
    """interval: seconds between two shows; None is none. Methods raise OSError or ValueError if
    the output can't be written."""

    interval: float | None

    def open(self) -> None:
        """At the beginning."""

    def show(self, report: ProgressReport) -> None:
        """In between."""

    def close(self, report: ProgressReport) -> None:
        """At the end."""


class Silence:
    """Shows nothing."""

    interval: float | None = None

    def open(self) -> None:
        """Nothing."""

    def show(self, report: ProgressReport) -> None:
        """Nothing."""

    def close(self, report: ProgressReport) -> None:
        """Nothing."""


class SummaryAlone(Silence):
    """Lines for people, or an object, at the end."""

    def __init__(self, stream: TextIO, as_json: bool) -> None:
        self._stream = stream
        self._as_json = as_json

    def close(self, report: ProgressReport) -> None:
        """Write it."""
        if self._as_json:
            write_json(self._stream, report, ended=True)
        else:
            write_summary(self._stream, report)


class JsonObjects:
    """An object in a line, every few seconds and at the end."""

    interval: float | None = 5.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def open(self) -> None:
        """Nothing."""

    def show(self, report: ProgressReport) -> None:
        """A line."""
        write_json(self._stream, report, ended=False)

    def close(self, report: ProgressReport) -> None:
        """The last line."""
        write_json(self._stream, report, ended=True)


class Bar:
    """A line that is drawn anew in its place, above which the log goes on."""

    interval: float | None = 0.2

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._open = ExitStack()
        self._bar: Any = None

    def open(self) -> None:
        """Draw an empty one."""
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        class OwnBar(tqdm):  # type: ignore[type-arg]
            """Its lock is shared with no process: one that is killed would keep it."""

            monitor_interval = 0
            _lock = threading.RLock()

        self._bar = self._open.enter_context(
            OwnBar(file=self._stream, bar_format=_WITHOUT_TOTAL, dynamic_ncols=True, leave=False)
        )
        self._open.enter_context(logging_redirect_tqdm())

    def show(self, report: ProgressReport) -> None:
        """Draw it."""
        tally = report.tally
        self._bar.total, self._bar.n = tally.total, tally.done
        self._bar.bar_format = _WITH_TOTAL if tally.total else _WITHOUT_TOTAL
        line = report.line()[:_MAX_LINE]
        self._bar.set_description_str(_encodable(line, self._stream))

    def close(self, report: ProgressReport) -> None:
        """Clear it, and write the summary in its place."""
        with self._open:
            self.show(report)
        write_summary(self._stream, report)


def write_summary(stream: TextIO, report: ProgressReport) -> None:
    """For people."""
    for line in report.summary().splitlines():
        stream.write(f"octavo: {line}\n")
    stream.flush()


def write_json(stream: TextIO, report: ProgressReport, ended: bool) -> None:
    """In one write, so that other lines don't come between."""
    stream.write(json.dumps(report.to_json(ended)) + "\n")
    stream.flush()


def _encodable(text: str, stream: TextIO) -> str:
    """What the stream would write as an escape, longer than it is counted, is a question mark."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
