"""Requests that wait to be computed, in the order in which a policy serves them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain

from .fair_queue import FairQueue
from .request import Request
from .request_queue import RequestClass, RequestQueue, SchedulingPolicy

#: The place in a rank of what has not begun: after all that has.
_NOT_STARTED = 2**62


class WaitingRequests:
    """The lowest class first; in it what was preempted, in the order in which it began, then what
    has not begun, by the shares of the clients.

    Ranks are set here: the class, the number of the start, the number of arrival. As what has not
    begun is behind all that has, nobody is preempted for another's share.
    """

    def __init__(self, policy: SchedulingPolicy) -> None:
        self._policy = policy
        self._preempted = RequestQueue()
        self._queues: dict[RequestClass, FairQueue] = {}
        #: Those of `_queues` in which something waits, in order.
        self._classes: list[RequestClass] = []
        #: Requests that have not ended, by class.
        self._num_live: dict[RequestClass, int] = {}
        self._num_added = 0
        self._num_started = 0
        #: Tokens that clients are to be charged for, with their weights: together, before anybody's
        #: place depends on them, as most steps compute one for each of many requests.
        self._owed: dict[tuple[RequestClass, str, float], int] = {}

    def __len__(self) -> int:
        return len(self._preempted) + sum(len(self._queues[c]) for c in self._classes)

    def __iter__(self) -> Iterator[Request]:
        """In no order."""
        return chain(self._preempted, *(self._queues[c] for c in self._classes))

    def arrive(self, request: Request) -> None:
        """A new request, which may wait from now on, or later."""
        request.sequence_number = self._num_added
        self._num_added += 1
        request_class = self._policy(request)
        request.rank = (*request_class, _NOT_STARTED, request.sequence_number)
        self._num_live[request_class] = self._num_live.get(request_class, 0) + 1
        self._queues.setdefault(request_class, FairQueue())

    def add(self, request: Request) -> None:
        """A request that has arrived waits, perhaps again."""
        if _has_started(request):
            self._preempted.add(request)
            return
        self._settle()
        request_class = _class_of(request)
        queue = self._queues[request_class]
        if not queue:
            insort(self._classes, request_class)
        queue.add(request)

    def remove(self, request: Request) -> None:
        """It waits no more."""
        if _has_started(request):
            self._preempted.remove(request)
        else:
            self._take_out(request)

    def start(self, request: Request) -> None:
        """Take out what is computed from now on, perhaps again."""
        if _has_started(request):
            self._preempted.remove(request)
            return
        self._num_started += 1
        self._take_out(request, self._num_started)
        request.rank = (*_class_of(request), self._num_started, request.sequence_number)

    def first(self) -> Request | None:
        """Which is to be computed next."""
        if self._classes:
            self._settle()
        found = self._queues[self._classes[0]].first() if self._classes else None
        if self._preempted and (found is None or self._preempted[0].rank < found.rank):
            return self._preempted[0]
        return found

    def charge(self, request: Request, end: int) -> None:
        """A request is computed up to a position. What it computes again is not its client's to
        answer for."""
        num_tokens = end - request.num_charged_tokens
        if num_tokens > 0:
            request.num_charged_tokens = end
            owner = _class_of(request), request.client, request.weight
            self._owed[owner] = self._owed.get(owner, 0) + num_tokens

    def end(self, request: Request) -> None:
        """A request has ended. With the last one of a class, all debts in it are forgotten."""
        self._settle()
        request_class = _class_of(request)
        self._num_live[request_class] -= 1
        if not self._num_live[request_class]:
            del self._num_live[request_class], self._queues[request_class]

    def _settle(self) -> None:
        for (request_class, client, weight), num_tokens in self._owed.items():
            self._queues[request_class].shares.charge(client, weight, num_tokens)
        self._owed.clear()

    def _take_out(self, request: Request, started_as: int = 0) -> None:
        self._settle()
        request_class = _class_of(request)
        queue = self._queues[request_class]
        queue.remove(request, started_as)
        if not queue:
            del self._classes[bisect_left(self._classes, request_class)]

    def check_integrity(self) -> None:
        """Raise AssertionError if queues and shares disagree."""
        self._settle()
        assert self._num_live.keys() == self._queues.keys()
        assert self._classes == sorted(c for c, queue in self._queues.items() if queue)
        assert all(map(_has_started, self._preempted))
        for queue in self._queues.values():
            queue.shares.check_integrity()
            assert len(queue) == len(list(queue))
            assert {request.client for request in queue} == queue.shares.waiting


def _has_started(request: Request) -> bool:
    return request.rank[2] != _NOT_STARTED


def _class_of(request: Request) -> RequestClass:
    """The one that it had as it arrived."""
    background, priority, *_ = request.rank
    return bool(background), priority
