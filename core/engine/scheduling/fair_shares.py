"""What each client has been served, beside what it is entitled to by its weight."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace


@dataclass(eq=False)
class Share:
    """One client's, in virtual time, which is tokens for a unit of weight.

    served: what it has been given. waits: whether it has requests that have not begun. is_listed:
    whether it is in the heap of those who are ahead.
    """

    weight: float
    served: float
    waits: bool = False
    is_listed: bool = False


class FairShares:
    """The virtual time of weighted fair queueing (Demers, Keshav and Shenker, 1989; Parekh and
    Gallager, 1993), with tokens charged as they are computed, as a virtual token counter does it
    (Sheng et al., arXiv 2401.00588): how long an answer will be is not known before.

    `now` is what a client would have been served by a server that gives every token to all who
    want some at once, by their weights. Those are clients with requests that wait, and clients
    that are ahead, until the others have got as much. Together they are as far ahead as behind.
    A client that wants nothing is no part of it: it saves nothing up, and what others take of its
    share costs them nothing. A charge takes constant time on average, however many there are.
    """

    def __init__(self) -> None:
        self.now = 0.0
        #: Those who take part, by client.
        self._shares: dict[str, Share] = {}
        self._weight = 0.0
        #: What those have been served who are ahead, or were; the least first.
        self._ahead: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Clients that wait, or are ahead."""
        return len(self._shares)

    @property
    def waiting(self) -> set[str]:
        """Clients that have requests that wait."""
        return {client for client, share in self._shares.items() if share.waits}

    def served(self, client: str) -> float:
        """What a client has been served, in virtual time: `now`, if it takes no part."""
        share = self._shares.get(client)
        return self.now if share is None else share.served

    def wait(self, client: str, weight: float) -> None:
        """A client has requests that wait, from now on with this weight."""
        share = self._enter(client, weight)
        share.waits = True
        if weight != share.weight:
            # As far ahead or behind, in tokens, as it was.
            share.served = self.now + (share.served - self.now) * share.weight / weight
            self._weight += weight - share.weight
            share.weight = weight

    def rest(self, client: str) -> None:
        """A client has no more requests that wait. What it could have had is the others'."""
        share = self._shares[client]
        share.waits = False
        if share.served > self.now:
            self._list(client, share)
            return
        self._leave(client)
        self._advance(share.weight * (self.now - share.served))

    def charge(self, client: str, weight: float, num_tokens: int) -> None:
        """A client is served. weight: that of one that takes no part yet."""
        share = self._enter(client, weight)
        share.served += num_tokens / share.weight
        if not share.waits:
            self._list(client, share)
        self._advance(num_tokens)

    def _enter(self, client: str, weight: float) -> Share:
        share = self._shares.get(client)
        if share is None:
            share = self._shares[client] = Share(weight, self.now)
            self._weight += weight
        return share

    def _leave(self, client: str) -> None:
        self._weight -= self._shares.pop(client).weight
        if not self._shares:
            self._weight = 0.0

    def _list(self, client: str, share: Share) -> None:
        if not share.is_listed:
            share.is_listed = True
            heappush(self._ahead, (share.served, client))

    def _advance(self, num_tokens: float) -> None:
        """Time goes on by so many tokens for all, past those who are ahead no longer."""
        while num_tokens > 0 and self._shares:
            then = self.now + num_tokens / self._weight
            leaving = self._first_ahead()
            if leaving is None or leaving[0] > then:
                self.now = then
                return
            served, client = leaving
            num_tokens -= (served - self.now) * self._weight
            self.now = served
            heappop(self._ahead)
            self._leave(client)

    def _first_ahead(self) -> tuple[float, str] | None:
        """Who will be ahead no longer first, of those who don't wait."""
        while self._ahead:
            served, client = self._ahead[0]
            share = self._shares.get(client)
            if share is None or share.waits:
                heappop(self._ahead)
                if share is not None:
                    share.is_listed = False
            elif share.served != served:
                heapreplace(self._ahead, (share.served, client))
            else:
                return self._ahead[0]
        return None

    def check_integrity(self) -> None:
        """Raise AssertionError unless as much is owed as is due."""
        shares = self._shares.values()
        total = sum(share.weight for share in shares)
        assert abs(total - self._weight) <= 1e-6 * (1 + total)
        assert all(share.waits or share.served > self.now for share in shares)
        balance = sum(share.weight * (share.served - self.now) for share in shares)
        assert abs(balance) <= 1e-6 * (1 + self.now * total)
        listed = {client for _, client in self._ahead}
        assert all(share.waits or client in listed for client, share in self._shares.items())
