"""A circuit breaker: after failures in a row it keeps callers away from what fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class CircuitBreaker:
    """Closed, open or half-open (Nygard, "Release It!"); may be used from several threads.

    failures: in a row, after which it opens.
    pause: seconds for which it stays open; then one caller may try. Each trial that fails doubles
        the next pause, up to max_pause.
    clock: seconds, as time.monotonic.

    Who may try and never reports holds others up for one pause more, not for ever.
    """

    def __init__(
        self,
        failures: int = 3,
        pause: float = 1.0,
        max_pause: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._first_pause = pause
        self._max_pause = max_pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = pause
        self._next_trial: float | None = None
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether callers are kept away, but for one now and then who may try."""
        return self._next_trial is not None

    def allow(self) -> bool:
        """Whether the caller may go ahead; it then reports `success` or `failure`."""
        with self._lock:
            if self._next_trial is None:
                return True
            now = self._clock()
            if now < self._next_trial:
                return False
            self._next_trial = now + self._pause
            self._trying = True
            return True

    def success(self) -> bool:
        """It worked. Returns whether this closed the breaker."""
        with self._lock:
            closed = self._next_trial is not None
            self._failures = 0
            self._pause = self._first_pause
            self._next_trial = None
            self._trying = False
            return closed

    def failure(self) -> bool:
        """It failed. Returns whether this opened the breaker."""
        with self._lock:
            self._failures += 1
            if self._next_trial is not None:
                if self._trying:  # else it is of a call from before the breaker opened
                    self._trying = False
                    self._pause = min(2 * self._pause, self._max_pause)
                    self._next_trial = self._clock() + self._pause
                return False
            if self._failures < self._limit:
                return False
            self._next_trial = self._clock() + self._pause
            return True
