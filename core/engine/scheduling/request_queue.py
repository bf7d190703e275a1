"""Requests in the order in which a policy serves them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from operator import attrgetter

from .request import Request

#: Whether a request is in the background, and its priority.
RequestClass = tuple[bool, int]
#: Gives a request's class: lower ones are served first and preempted last. Within one, clients
#: share by weight, and what one client sent is served in the order in which it came.
SchedulingPolicy = Callable[[Request], RequestClass]


def fcfs(request: Request) -> RequestClass:
    """First come, first served, by each client; clients share by weight."""
    return request.background, 0


def priority(request: Request) -> RequestClass:
    """Lower `priority` first; among equals as `fcfs`."""
    return request.background, request.priority


POLICIES: dict[str, SchedulingPolicy] = {"fcfs": fcfs, "priority": priority}


_rank = attrgetter("rank")


class RequestQueue:
    """A list sorted by rank; ranks are unique and don't change."""

    def __init__(self) -> None:
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __getitem__(self, index: int) -> Request:
        return self._requests[index]

    def add(self, request: Request) -> None:
        """Insert a request at its place."""
        insort(self._requests, request, key=_rank)

    def remove(self, request: Request) -> None:
        """Take a request out. Raises ValueError if it is not there."""
        index = bisect_left(self._requests, request.rank, key=_rank)
        if index == len(self) or self._requests[index] is not request:
            raise ValueError(f"request {request.request_id} is not in the queue")
        del self._requests[index]
