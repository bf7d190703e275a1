"""A limit per minute, as a token bucket."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

_MINUTE_S = 60.0


class TokenBucket:
    """What is full holds what a minute allows, and fills at an even pace.

    per_minute: how much that is. clock: gives seconds, which never go back.
    """

    def __init__(self, per_minute: int, clock: Clock = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._time = clock()

    @property
    def level(self) -> float:
        """What can be taken now; below 0, what more than could be was spent."""
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._time) * self._per_second)
        self._time = now
        return self._level

    @property
    def full_in(self) -> float:
        """Seconds until it is full, if nothing is taken."""
        return (self.per_minute - self.level) / self._per_second

    def seconds_until(self, amount: float) -> float:
        """Until so much can be taken, which is not more than it holds."""
        return max(0.0, (amount - self.level) / self._per_second)

    def spend(self, amount: float) -> None:
        """Take so much, even if it isn't there; a negative amount is given back."""
        self._level = min(self.per_minute, self.level - amount)

    def resized(self, per_minute: int) -> TokenBucket:
        """One of another size, from which as much has been taken."""
        other = TokenBucket(per_minute, self._clock)
        other.spend(self.per_minute - self.level)
        return other

    @property
    def _per_second(self) -> float:
        return self.per_minute / _MINUTE_S
