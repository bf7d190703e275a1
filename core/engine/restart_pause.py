"""How long to wait before a process that died is started again."""

from __future__ import annotations

import time

#: One that dies this soon after its start is not restarted at once.
_SHORT_LIFE_S = 10.0
_LONGEST_PAUSE_S = 30.0


class RestartPause:
    """Doubles while one process after another dies soon after its start."""

    def __init__(self) -> None:
        self._started_at = 0.0
        self._short_lives = 0

    def started(self) -> None:
        """A process was started now."""
        self._started_at = time.monotonic()

    def after_death(self) -> float:
        """The process that was started last has died; seconds until the next start."""
        short = time.monotonic() - self._started_at < _SHORT_LIFE_S
        self._short_lives = self._short_lives + 1 if short else 0
        return min(_LONGEST_PAUSE_S, 2.0**self._short_lives - 1) if self._short_lives > 1 else 0
