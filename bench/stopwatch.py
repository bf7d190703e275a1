"""Measures which part of a loop takes how long."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Parts may contain others; the time of the inner one is not the outer one's too."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._part = ""
        self._since = time.perf_counter()

    def watch(self, owner: object, method: str, part: str) -> None:
        """Measure every call of an object's method from now on."""
        call = getattr(owner, method)

        @functools.wraps(call)
        def measured(*arguments: Any) -> Any:
            with self.part(part):
                return call(*arguments)

        setattr(owner, method, measured)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure what is done within."""
        outer = self._part
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def lap(self) -> dict[str, float]:
        """Seconds of each part since the last call."""
        seconds, self._seconds = self._seconds, defaultdict(float)
        return dict(seconds)

    def _switch(self, part: str) -> None:
        now = time.perf_counter()
        self._seconds[self._part] += now - self._since
        self._part, self._since = part, now
