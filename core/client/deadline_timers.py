"""The deadlines of a request as its face watches them, for an engine that hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..protocol.errors import RequestTimeoutError
from ..protocol.messages import EngineRequest

#: The engine watches deadlines itself, and knows best; so long it may take to tell.
_GRACE_S = 0.25


class DeadlineTimers:
    """Report that a request's time is over, unless they are cancelled before; to be made in the
    event loop. report: is called at most once for each of the two deadlines."""

    def __init__(
        self, request: EngineRequest, report: Callable[[RequestTimeoutError], None]
    ) -> None:
        self._arrival = request.arrival_time
        self._report = report
        self._queued = self._at(request.queue_timeout, queued=True)
        self._total = self._at(request.timeout, queued=False)

    def limit(self) -> asyncio.Timeout:
        """Around what is done for the request meanwhile, which raises TimeoutError when `report`
        is called for the whole request."""
        return asyncio.timeout_at(self._total.when() if self._total is not None else None)

    def started(self) -> None:
        """The request waits no more."""
        if self._queued is not None:
            self._queued.cancel()

    def cancel(self) -> None:
        """The request has ended."""
        for timer in (self._queued, self._total):
            if timer is not None:
                timer.cancel()

    def _at(self, timeout: float | None, queued: bool) -> asyncio.TimerHandle | None:
        if timeout is None:
            return None
        delay = max(0.0, self._arrival + timeout + _GRACE_S - time.monotonic())
        return asyncio.get_running_loop().call_later(delay, self._fire, queued)

    def _fire(self, queued: bool) -> None:
        what = "started" if queued else "finished"
        waited = time.monotonic() - self._arrival
        message = f"the request was not {what} within its timeout: {waited:.2f} s"
        self._report(RequestTimeoutError(message, queued))
