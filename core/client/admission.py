"""How many requests may be open, shared fairly between clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..protocol.errors import EngineOverloadedError

#: Tells a request that waits for its first step that it is refused after all.
Refuse = Callable[[EngineOverloadedError], None]


@dataclass
class _Open:
    client: str
    num_answers: int
    refuse: Refuse | None


class Admission:
    """Counts the answers of open requests, from their arrival to their end.

    When there are as many as may be, who has fewer than another, for its weight, takes the place of
    what that one sent last and has not begun: the longest queue is cut (McKenney, Stochastic
    fairness queueing, 1990), so that none can fill them all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, _Open] = {}
        self._num_answers: Counter[str] = Counter()
        self._weights: dict[str, float] = {}

    @property
    def num_open(self) -> int:
        """Answers of requests that are open."""
        return self._num_answers.total()

    @contextmanager
    def enter(
        self,
        request_id: str,
        client: str,
        num_answers: int,
        weight: float = 1.0,
        refuse: Refuse | None = None,
    ) -> Iterator[None]:
        """A request is open. weight: of its client. refuse: for as long as it is prepared; None if
        it is not to be refused. Raises EngineOverloadedError if there is no room for it."""
        for victim, refuse_victim in self._victims(client, num_answers, weight):
            self._leave(victim)
            refuse_victim(self._error())
        self._weights[client] = weight
        self._open[request_id] = _Open(client, num_answers, refuse)
        self._num_answers[client] += num_answers
        try:
            yield
        finally:
            self._leave(request_id)

    def wait(self, request_id: str, refuse: Refuse) -> None:
        """A request, if it is open, waits for its first step, and may be refused until then."""
        if request_id in self._open:
            self._open[request_id].refuse = refuse

    def start(self, request_id: str) -> None:
        """It is not refused any more."""
        if request_id in self._open:
            self._open[request_id].refuse = None

    def _victims(self, client: str, num_answers: int, weight: float) -> list[tuple[str, Refuse]]:
        """Who is to make room. Raises EngineOverloadedError if that would be unfair, or not
        enough."""
        counts = self._num_answers.copy()
        counts[client] += num_answers
        weights = {**self._weights, client: weight}
        largest = max(counts, key=lambda name: counts[name] / weights[name])
        waiting = (
            (request_id, request.num_answers, request.refuse)
            for request_id, request in reversed(self._open.items())
            if request.client == largest != client and request.refuse is not None
        )
        victims: list[tuple[str, Refuse]] = []
        while counts.total() > self._most:
            request_id, num_freed, refuse = next(waiting, ("", 0, None))
            counts[largest] -= num_freed
            left = counts[largest] / weights[largest]
            if refuse is None or left < counts[client] / weight:
                raise self._error()
            victims.append((request_id, refuse))
        return victims

    def _leave(self, request_id: str) -> None:
        request = self._open.pop(request_id, None)
        if request is not None:
            self._num_answers[request.client] -= request.num_answers
            if not self._num_answers[request.client]:
                del self._num_answers[request.client], self._weights[request.client]

    def _error(self) -> EngineOverloadedError:
        return EngineOverloadedError(
            f"{self.num_open} requests are open, as many as run at once and wait here; "
            "send the request again later"
        )
