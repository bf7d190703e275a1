"""Gives requests their turns, so that clients are served round robin."""

from __future__ import annotations

from dataclasses import dataclass

from .request import Request


class FairTurns:
    """Start-time fair queueing (Goyal, Vin and Cheng, 1996), with every request of the same cost.

    A client's requests get one turn after the other, beginning with the next; whoever serves the
    lowest turn first takes one request of each client in a round. What a client has queued
    delays only what it sends later, and a client that comes back begins with the next turn: it
    has saved up nothing. As nothing new gets the present turn, that ends, however many new
    clients come. A request takes constant time, however many there are.
    """

    def __init__(self) -> None:
        self._present = 0
        self._clients: dict[str, _Client] = {}

    def __len__(self) -> int:
        """Clients that have requests."""
        return len(self._clients)

    def take(self, request: Request) -> None:
        """Set a new request's turn."""
        client = self._clients.setdefault(request.client, _Client(self._present))
        client.num_requests += 1
        client.last_turn = max(self._present, client.last_turn) + 1
        request.turn = client.last_turn

    def start(self, request: Request) -> None:
        """A request is served, perhaps again: its turn has come."""
        self._present = max(self._present, request.turn)

    def end(self, request: Request) -> None:
        """A request has left; one that never started gives its client a turn back."""
        client = self._clients[request.client]
        client.num_requests -= 1
        if not client.num_requests:
            del self._clients[request.client]
        elif not request.timings.first_scheduled:
            client.last_turn -= 1


@dataclass
class _Client:
    last_turn: int
    num_requests: int = 0
