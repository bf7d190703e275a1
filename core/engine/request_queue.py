"""Requests in the order in which a policy serves them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from .request import Request

#: Lower is served first and preempted last.
Rank = tuple[int, ...]
SchedulingPolicy = Callable[[Request], Rank]


def fcfs(request: Request) -> Rank:
    """First come, first served."""
    return (request.sequence_number,)


def priority(request: Request) -> Rank:
    """Lower `priority` first; first come, first served among equals."""
    return (request.priority, request.sequence_number)


POLICIES: dict[str, SchedulingPolicy] = {"fcfs": fcfs, "priority": priority}


class RequestQueue:
    """A list sorted by rank; ranks are unique and don't change."""

    def __init__(self, policy: SchedulingPolicy) -> None:
        self._policy = policy
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __getitem__(self, index: int) -> Request:
        return self._requests[index]

    def add(self, request: Request) -> None:
        """Insert a request at its place."""
        insort(self._requests, request, key=self._policy)

    def remove(self, request: Request) -> None:
        """Take a request out. Raises ValueError if it is not there."""
        index = bisect_left(self._requests, self._policy(request), key=self._policy)
        if index == len(self) or self._requests[index] is not request:
            raise ValueError(f"request {request.request_id} is not in the queue")
        del self._requests[index]
