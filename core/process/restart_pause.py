"""How long to wait before a process that died is started again, and for its service."""

from __future__ import annotations

import math
import time

#: One that dies this soon after its start is not restarted at once.
_SHORT_LIFE_S = 10.0
_LONGEST_PAUSE_S = 30.0
#: From a start to service, until one has been measured.
_USUAL_START_S = 10.0


class RestartPause:
    """Doubles while one process after another dies soon after its start."""

    def __init__(self) -> None:
        self._started_at = 0.0
        self._back_at: float | None = None
        self._start_s = _USUAL_START_S
        self._short_lives = 0

    def started(self) -> None:
        """A process was started now."""
        self._started_at = time.monotonic()

    def loaded(self) -> None:
        """It serves from now on."""
        self._start_s = time.monotonic() - self._started_at
        self._back_at = None

    @property
    def retry_after(self) -> int:
        """Seconds until there is service again, if the next start takes as long as the last; also
        of a process whose death has not been told yet."""
        left = self._start_s if self._back_at is None else self._back_at - time.monotonic()
        return max(1, math.ceil(left))

    def after_death(self) -> float:
        """The process that was started last has died; seconds until the next start."""
        short = time.monotonic() - self._started_at < _SHORT_LIFE_S
        self._short_lives = self._short_lives + 1 if short else 0
        doubled = 2.0**self._short_lives - 1 if self._short_lives > 1 else 0.0
        pause = min(_LONGEST_PAUSE_S, doubled)
        self._back_at = time.monotonic() + pause + self._start_s
        return pause
