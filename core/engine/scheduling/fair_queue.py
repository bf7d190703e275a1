"""Requests of one class that have not begun, in the order in which clients are to be served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from itertools import chain

from .fair_shares import FairShares
from .request import Request
from .request_queue import RequestQueue

#: Tokens that a client is taken to have been served more than it was, for its weight: of those who
#: have been served alike, the heavier goes first.
_HEAD_START = 1.0

_Entry = tuple[float, int, int, str]


@dataclass(eq=False)
class _Client:
    """requests: what waits. since: the number of the first to wait since there were none.
    last_start: when one began last. entry: its present one in the heap."""

    weight: float
    since: int
    last_start: int = 0
    requests: RequestQueue = field(default_factory=RequestQueue)
    entry: _Entry | None = None


class FairQueue:
    """The next request is the first of the client that has been served least for its weight, so
    that over any long time the tokens of those who wait are in the ratio of their weights, however
    many requests each has sent; see FairShares. A client that comes back, or is new, begins where
    the others are on average. What one client sent is served in the order in which it came.

    A request takes constant time on average but for the heap's logarithm, however many there are.
    """

    def __init__(self) -> None:
        self.shares = FairShares()
        self._clients: dict[str, _Client] = {}
        #: An entry for each client, which may say less than it has been served by now.
        self._order: list[_Entry] = []
        self._num_waiting = 0

    def __len__(self) -> int:
        return self._num_waiting

    def __iter__(self) -> Iterator[Request]:
        """In no order but each client's own."""
        return chain.from_iterable(client.requests for client in self._clients.values())

    def add(self, request: Request) -> None:
        """To its place among its client's."""
        self._num_waiting += 1
        self.shares.wait(request.client, request.weight)
        client = self._clients.get(request.client)
        if client is None:
            client = _Client(request.weight, request.sequence_number)
            self._clients[request.client] = client
            self._push(request.client, client)
        client.weight = request.weight
        client.requests.add(request)

    def remove(self, request: Request, started_as: int = 0) -> None:
        """Take a request out. started_as: the number of its start, if that is why."""
        client = self._clients[request.client]
        client.requests.remove(request)
        client.last_start = max(client.last_start, started_as)
        self._num_waiting -= 1
        if not client.requests:
            del self._clients[request.client]
            self.shares.rest(request.client)

    def first(self) -> Request | None:
        """Which is to begin next."""
        while self._order:
            entry = self._order[0]
            client = self._clients.get(entry[-1])
            if client is None or client.entry is not entry:
                heappop(self._order)
                continue
            present = self._entry_of(entry[-1], client)
            if present == entry:
                return client.requests[0]
            client.entry = present
            heapreplace(self._order, present)
        return None

    def _push(self, name: str, client: _Client) -> None:
        client.entry = self._entry_of(name, client)
        heappush(self._order, client.entry)

    def _entry_of(self, name: str, client: _Client) -> _Entry:
        served = self.shares.served(name) + _HEAD_START / client.weight
        return served, client.last_start, client.since, name
