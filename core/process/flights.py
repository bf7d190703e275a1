"""Work that is done once for all who want its result at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Payload = TypeVar("Payload")


class Flight(Generic[Payload]):
    """One piece of work on its way, for all who joined it."""

    def __init__(self, name: str, task: asyncio.Task[Payload]) -> None:
        self.name = name
        self.task: asyncio.Task[Payload] | None = task
        self.num_users = 0
        self.num_bytes = 0

    def landed(self) -> Coroutine[Any, Any, Payload]:
        """The result, for one of its users; the work goes on for others if the caller leaves.
        Raises what the work raises."""
        assert self.task is not None
        # Taken now: by the time that it is awaited, the flight may have ended.
        return _land(self.task)


class Flights(Generic[Payload]):
    """The flights that can be joined, by name; use from one event loop. num_bytes: of a result."""

    def __init__(self, num_bytes: Callable[[Payload], int]) -> None:
        self._num_bytes = num_bytes
        self._flights: dict[str, Flight[Payload]] = {}
        self._held = 0
        self._freed = asyncio.Event()

    async def wait_for_room(self, max_bytes: int) -> None:
        """Wait until the results that have landed and are held take no more than so many bytes."""
        while self._held > max_bytes:
            self._freed.clear()
            await self._freed.wait()

    def join(self, name: str, start: Callable[[], Coroutine[Any, Any, Payload]]) -> Flight[Payload]:
        """The flight of a name; `start` gives its work if there is none. To be left by `leave`."""
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = self._depart(name, start())
        flight.num_users += 1
        return flight

    def leave(self, flight: Flight[Payload]) -> bool:
        """Returns whether this was its last user, with whom the flight ends."""
        flight.num_users -= 1
        if flight.num_users:
            return False
        self._drop(flight)
        if self._flights.get(flight.name) is flight:
            del self._flights[flight.name]
        return True

    def end(self, name: str) -> None:
        """Let a result go that nobody needs to fetch any more, even if its users have yet to
        leave; who joins from now on begins anew."""
        flight = self._flights.pop(name, None)
        if flight is not None:
            self._drop(flight)

    def _depart(self, name: str, work: Coroutine[Any, Any, Payload]) -> Flight[Payload]:
        task = asyncio.ensure_future(work)
        flight = Flight(name, task)

        def weigh(task: asyncio.Task[Payload]) -> None:
            has_ended = flight.task is None
            if not (has_ended or task.cancelled() or task.exception() is not None):
                flight.num_bytes = self._num_bytes(task.result())
                self._held += flight.num_bytes

        task.add_done_callback(weigh)
        return flight

    def _drop(self, flight: Flight[Payload]) -> None:
        if flight.task is None:
            return
        flight.task.cancel()
        flight.task = None
        self._held -= flight.num_bytes
        self._freed.set()


async def _land(task: asyncio.Task[Payload]) -> Payload:
    return await asyncio.shield(task)
