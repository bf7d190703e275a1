"""Flights: one load for all who join, ended by the last who leaves, and bounded in bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from octavo.core.process.flights import Flights


class Source:
    """Work that waits until it is told to go on, and counts how often it began and was ended."""

    def __init__(self, result: bytes | Exception = b"12345") -> None:
        self.go_on = asyncio.Event()
        self.begun = self.cancelled = 0
        self._result = result

    async def load(self) -> bytes:
        self.begun += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


async def settle() -> None:
    """Let what is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(scenario: Callable[[Flights[bytes]], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Flights(len))

    asyncio.run(main())


def test_two_join_one_load() -> None:
    async def scenario(flights: Flights[bytes]) -> None:
        source = Source()
        users = [flights.join("a", source.load) for _ in range(2)]
        assert users[0] is users[1]
        landed = asyncio.gather(*(flight.landed() for flight in users))
        source.go_on.set()
        assert await landed == [b"12345"] * 2
        assert source.begun == 1
        assert [flights.leave(flight) for flight in users] == [False, True]
        again = flights.join("a", source.load)
        assert await again.landed() == b"12345"
        assert source.begun == 2
        flights.leave(again)

    run(scenario)


def test_one_who_leaves_ends_nothing_and_the_last_one_does() -> None:
    async def scenario(flights: Flights[bytes]) -> None:
        source = Source()
        first, last = (flights.join("a", source.load) for _ in range(2))
        waiting = asyncio.ensure_future(first.landed())
        await settle()
        waiting.cancel()
        await settle()
        assert not flights.leave(first)
        assert (source.begun, source.cancelled) == (1, 0)
        assert flights.leave(last)
        await settle()
        assert (source.begun, source.cancelled) == (1, 1)

    run(scenario)


def test_an_error_reaches_all() -> None:
    async def scenario(flights: Flights[bytes]) -> None:
        source = Source(ValueError("no such picture"))
        users = [flights.join("a", source.load) for _ in range(3)]
        source.go_on.set()
        for flight in users:
            with pytest.raises(ValueError, match="no such picture"):
                await flight.landed()
            flights.leave(flight)
        await flights.wait_for_room(0)

    run(scenario)


@pytest.mark.parametrize("ends", ["by the last user", "as its result is needed no more"])
def test_bytes_are_held_until_a_flight_ends(ends: str) -> None:
    async def scenario(flights: Flights[bytes]) -> None:
        source = Source()
        flight = flights.join("a", source.load)
        # What has not landed has no size yet.
        await flights.wait_for_room(0)
        source.go_on.set()
        await flight.landed()
        await settle()
        await flights.wait_for_room(5)
        room = asyncio.ensure_future(flights.wait_for_room(4))
        await settle()
        assert not room.done()
        if ends == "by the last user":
            flights.leave(flight)
        else:
            flights.end("a")
        await room
        # Freed once, not again by a user who leaves later.
        if ends != "by the last user":
            assert flights.leave(flight)
        other = flights.join("b", source.load)
        await other.landed()
        await settle()
        room = asyncio.ensure_future(flights.wait_for_room(4))
        await settle()
        assert not room.done()
        flights.leave(other)
        await room

    run(scenario)
