"""Which requests have run out of their time."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from ...protocol.messages import Failure
from .request import Request, RequestStatus


class Deadlines:
    """A heap of the queue and total deadlines of requests, in `time.monotonic` seconds.

    It holds names, not requests, so that one that ended early is not kept until its deadline.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, bool, str]] = []

    def add(self, request: Request) -> None:
        """Watch a request's deadlines, if it has any."""
        for when, queued in ((request.queue_deadline, True), (request.deadline, False)):
            if when is not None:
                entry = (when, request.sequence_number, queued, request.request_id)
                heapq.heappush(self._heap, entry)

    def expired(self, now: float, live: Mapping[str, Request]) -> list[tuple[Request, Failure]]:
        """The live requests whose time is over, each once, with what to say of it."""
        found: dict[str, tuple[Request, Failure]] = {}
        while self._heap and self._heap[0][0] <= now:
            _, sequence_number, queued, request_id = heapq.heappop(self._heap)
            request = live.get(request_id)
            if request is None or request.sequence_number != sequence_number:
                continue
            waited = now - request.timings.arrival
            if not queued:
                message = f"the request was not finished within its timeout: {waited:.2f} s"
                found[request_id] = (request, Failure("timeout", message))
            elif request.status is RequestStatus.WAITING:
                message = f"the request was not started within its timeout: {waited:.2f} s"
                found[request_id] = (request, Failure("queue_timeout", message))
        return list(found.values())
