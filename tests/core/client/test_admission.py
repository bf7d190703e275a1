"""A full server takes a client with less in the place of one with more."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import ExitStack, suppress

import pytest
from octavo.core.client.admission import Admission
from octavo.core.client.preparation import Preparation
from octavo.core.protocol.errors import EngineOverloadedError


class Server:
    """Requests that stay open until they are refused or `leave`. weights: of clients, where they
    aren't 1."""

    def __init__(self, most: int, **weights: float) -> None:
        self.most = most
        self.weights = weights
        self.admission = Admission(most)
        self.open: dict[str, tuple[str, int, ExitStack]] = {}
        self.refused: list[str] = []

    def enter(self, name: str, num_answers: int = 1, waits: bool = True) -> None:
        """A client is named by the first letter of its requests."""
        stack = ExitStack()
        stack.enter_context(
            self.admission.enter(name, name[0], num_answers, self.weights.get(name[0], 1.0))
        )
        self.open[name] = name[0], num_answers, stack
        if waits:
            self.admission.wait(name, lambda error: self.refuse(name))

    def refuse(self, name: str) -> None:
        self.refused.append(name)

    def leave(self, name: str) -> None:
        self.open.pop(name)[2].close()

    def settle(self) -> None:
        """Those who were refused notice."""
        for name in self.refused:
            if name in self.open:
                self.leave(name)

    def counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for client, num_answers, _ in self.open.values():
            counts[client] += num_answers
        return counts


def test_one_client_may_have_all_places_and_no_more() -> None:
    server = Server(4)
    for i in range(4):
        server.enter(f"a{i}")
    with pytest.raises(EngineOverloadedError, match="4 requests are open"):
        server.enter("a4")
    server.leave("a0")
    server.enter("a5")
    assert not server.refused


def test_the_newest_that_waits_of_who_has_most_makes_room() -> None:
    server = Server(6)
    for i in range(5):
        server.enter(f"a{i}")
    server.enter("b0")
    server.admission.start("a4")
    server.enter("c0")
    assert server.refused == ["a3"]


def test_who_would_have_as_many_is_refused() -> None:
    server = Server(4)
    for name in ("a0", "a1", "b0", "b1"):
        server.enter(name)
    for name in ("a2", "b2"):
        with pytest.raises(EngineOverloadedError):
            server.enter(name)
    server.enter("c0")
    assert server.refused == ["a1"]
    with pytest.raises(EngineOverloadedError):
        server.enter("d0", num_answers=3)
    assert server.refused == ["a1"], "nobody is refused in vain"


def test_places_are_shared_by_weight() -> None:
    server = Server(12, a=2.0)
    for i in range(12):
        server.enter(f"b{i}")
    for i in range(8):
        server.enter(f"a{i}")
    assert server.refused == [f"b{i}" for i in (11, 10, 9, 8, 7, 6, 5, 4)]
    with pytest.raises(EngineOverloadedError):
        server.enter("a8")
    server.enter("c0")
    assert server.refused[-1] in ("a7", "b3")


def test_what_is_prepared_makes_room_too() -> None:
    """A client that floods with pictures that take long to read: none of them waits yet."""

    async def hold(admission: Admission, name: str, outcomes: list[str]) -> None:
        try:
            with (
                Preparation() as preparation,
                admission.enter(name, name[0], 1, refuse=preparation.refuse),
            ):
                await asyncio.sleep(3600)
        except EngineOverloadedError:
            outcomes.append(f"{name} refused")
        except asyncio.CancelledError:
            outcomes.append(f"{name} cancelled")
            raise

    async def scene() -> list[str]:
        outcomes: list[str] = []
        admission = Admission(4)
        tasks = [asyncio.create_task(hold(admission, f"a{i}", outcomes)) for i in range(4)]
        await asyncio.sleep(0)
        polite = asyncio.create_task(hold(admission, "b0", outcomes))
        await asyncio.wait(tasks[3:])
        assert admission.num_open == 4
        tasks.append(polite)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert admission.num_open == 0
        return outcomes

    others = ("a0", "a1", "a2", "b0")
    assert asyncio.run(scene()) == ["a3 refused", *(f"{name} cancelled" for name in others)]


def test_who_is_refused_and_cancelled_at_once_is_cancelled() -> None:
    async def work() -> None:
        with Preparation() as preparation:
            preparation.refuse(EngineOverloadedError("full"))
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(3600)

    async def scene() -> bool:
        task = asyncio.create_task(work())
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(scene())


def test_what_has_begun_is_never_refused() -> None:
    server = Server(3)
    for i in range(3):
        server.enter(f"a{i}", waits=False)
    with pytest.raises(EngineOverloadedError):
        server.enter("b0")


def test_there_are_never_more_than_may_be() -> None:
    generator = random.Random(0)
    server = Server(20)
    sent, entered = Counter[str](), Counter[str]()
    for i in range(3000):
        # The first client sends ten times as much as each of the others.
        name = f"{generator.choice('aaaaaaaaaabc')}{i}"
        sent[name[0]] += 1
        with suppress(EngineOverloadedError):
            server.enter(name, generator.choice([1, 1, 3]), waits=generator.random() < 0.9)
            entered[name[0]] += 1
        server.settle()
        assert server.counts().total() <= 20
        if server.open and generator.random() < 0.3:
            server.leave(generator.choice(list(server.open)))
    refused = Counter(name[0] for name in server.refused)
    served = {client: (entered[client] - refused[client]) / sent[client] for client in "abc"}
    assert served["a"] < 0.3
    assert min(served["b"], served["c"]) > 0.6, "who asks for little gets most of it"
    for name in list(server.open):
        server.leave(name)
    server.enter("a", num_answers=20)
