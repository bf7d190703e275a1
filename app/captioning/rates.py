"""How fast a job goes, lately and over all."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

#: What is lately: long enough for a model that takes seconds for a picture.
WINDOW_S = 60.0


class Rate(NamedTuple):
    """Per second."""

    pictures: float
    tokens: float


class _Sample(NamedTuple):
    seconds: float
    pictures: int
    tokens: int


class Rates:
    """Of readings of what has been done, by a clock that runs. start: its reading at the beginning.
    A sample is kept for each reading in the window, and the last one before it."""

    def __init__(self, start: float) -> None:
        self._first = _Sample(start, 0, 0)
        self._samples = deque([self._first])

    def add(self, now: float, pictures: int, tokens: int) -> None:
        """What has been done until now, since the beginning."""
        self._samples.append(_Sample(now, pictures, tokens))
        while len(self._samples) > 2 and self._samples[1].seconds <= now - WINDOW_S:
            self._samples.popleft()

    @property
    def seconds(self) -> float:
        """From the beginning to the last reading."""
        return self._samples[-1].seconds - self._first.seconds

    @property
    def recent(self) -> Rate:
        """Within the window."""
        return _between(self._samples[0], self._samples[-1])

    @property
    def overall(self) -> Rate:
        """From the beginning."""
        return _between(self._first, self._samples[-1])


def _between(start: _Sample, end: _Sample) -> Rate:
    seconds = end.seconds - start.seconds
    if seconds <= 0:
        return Rate(0.0, 0.0)
    return Rate((end.pictures - start.pictures) / seconds, (end.tokens - start.tokens) / seconds)
