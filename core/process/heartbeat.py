"""How a parent finds out that a child process hangs."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

#: A step that computes may take so many times as long as one that does nothing at all.
_PATIENCE_WITH_WORK = 20


class Ping(msgspec.Struct, frozen=True, tag=True):
    """A child is to answer from where it does its work, not from a thread beside."""


class Pong(msgspec.Struct, frozen=True, tag=True):
    """The answer."""


class StallWatch:
    """Decides, look by look, whether a child that says nothing is slow or hangs.

    Slow ones use the processor: a long prefill, a compiler, a model that is loaded. A child that
    is silent for half of `timeout` seconds gets a Ping; if it does not answer for the other half
    and uses no processor time either, it hangs, while it loads if it does neither for all of it.
    So does one whose step computes for twenty times as long, once it has loaded its model. Looks
    are counted, not the time between them, so that a machine that sleeps or has no time for us
    accuses nobody.

    ticks: the child's processor time so far.
    """

    def __init__(self, timeout: float, ticks: Callable[[], int]) -> None:
        self.interval = min(1.0, timeout / 8)
        self._timeout = timeout
        self._ticks = ticks
        self._last_ticks: int | None = None
        self._silent = self._idle = 0
        self._loaded = False

    def heard(self) -> None:
        """A message came since the last look; the first one says that the child has loaded."""
        self._silent = self._idle = 0
        self._last_ticks = None
        self._loaded = True

    def look(self, ping: Callable[[], None]) -> str | None:
        """To be called after each interval without a message. Returns what is wrong, if it is."""
        self._silent += 1
        silent = self._silent * self.interval
        if silent < self._timeout / 2:
            return None
        ticks = self._ticks()
        if self._last_ticks is None:
            ping()
        self._idle = self._idle + 1 if ticks == self._last_ticks else 0
        self._last_ticks = ticks
        patience = self._timeout / 2 if self._loaded else self._timeout
        if self._idle * self.interval >= patience:
            return f"it did nothing for {self._timeout:g} s and was killed"
        limit = _PATIENCE_WITH_WORK * self._timeout
        if self._loaded and silent >= limit:
            return f"one step took more than {limit:g} s and it was killed"
        return None
