"""Clients are served by their weights: tokens are counted, step by step, and no clock is asked."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import pytest
from octavo.core.engine.scheduling.fair_shares import FairShares
from octavo.core.engine.scheduling.request import Request, RequestStatus
from octavo.core.engine.scheduling.scheduler import Scheduler
from scheduling import make_request, make_scheduler, result_of


class Load:
    """Clients that keep so many requests each open, of random lengths, and how many tokens each
    is served."""

    def __init__(self, scheduler: Scheduler, weights: Mapping[str, float], seed: int = 0) -> None:
        self.scheduler = scheduler
        self.weights = weights
        self.served: Counter[str] = Counter()
        self.random = random.Random(seed)
        self.num_sent = self.num_steps = 0
        self.open: Counter[str] = Counter()

    def send(self, client: str, prompt: int, answer: int) -> Request:
        name = f"{client}-{self.num_sent}"
        self.num_sent += 1
        # No two prompts begin alike: none finds another's blocks.
        tokens = [10 + self.num_sent, *([5] * (prompt - 1))]
        (request,) = make_request(
            name, tokens, [], answer, client=client, weight=self.weights[client]
        )
        self.scheduler.add(request)
        self.open[client] += 1
        return request

    def fill(self, client: str, open_requests: int, longest: int) -> None:
        while self.open[client] < open_requests:
            self.send(client, self.random.randint(1, longest), self.random.randint(1, longest))

    def step(self) -> list[str]:
        """The clients of the requests that it is the first to compute."""
        output = self.scheduler.schedule()
        for item in output.scheduled:
            self.served[item.request_id.partition("-")[0]] += item.end - item.start
        for request, _ in self.scheduler.update(output, result_of(output)):
            if request.status.finished:
                self.open[request.client] -= 1
        self.num_steps += 1
        if self.num_steps % 20 == 0:
            self.scheduler.check_integrity()
        return [new.request_id.partition("-")[0] for new in output.new]


@pytest.mark.parametrize("weight", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(
    ("num_open", "longest"),
    [
        pytest.param((12, 12), (8, 8), id="alike"),
        pytest.param((200, 12), (8, 8), id="many requests"),
        pytest.param((12, 12), (20, 3), id="long requests"),
        pytest.param((12, 40), (3, 20), id="short requests"),
    ],
)
def test_tokens_are_in_the_ratio_of_weights_whatever_is_sent(
    weight: float, num_open: tuple[int, int], longest: tuple[int, int]
) -> None:
    load = Load(make_scheduler(num_blocks=64), {"a": 1.0, "b": weight})
    for _ in range(1200):
        for i, client in enumerate("ab"):
            load.fill(client, num_open[i], longest[i])
        load.step()
    assert load.served["b"] / load.served["a"] == pytest.approx(weight, rel=0.1)


def test_three_weights_at_once_and_a_client_that_comes_later() -> None:
    load = Load(make_scheduler(num_blocks=64), {"a": 1.0, "b": 2.0, "c": 0.5})
    for clients in ("ab", "abc"):
        load.served.clear()
        for _ in range(1200):
            for client in clients:
                load.fill(client, 12, 8)
            load.step()
        for client in clients:
            share = load.weights[client] / sum(load.weights[c] for c in clients)
            assert load.served[client] / load.served.total() == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_who_asks_now_and_then_never_waits_for_a_flood(weight: float) -> None:
    """Of 200 requests, however heavy their sender: four run, and each ends within 8 steps."""
    load = Load(make_scheduler(num_blocks=64), {"flood": weight, "polite": 1.0})
    waits = []
    for _ in range(40):
        for _ in range(load.random.randint(10, 30)):
            load.fill("flood", 200, 8)
            load.step()
        load.send("polite", 4, 4)
        num_steps = 1
        while "polite" not in load.step():
            load.fill("flood", 200, 8)
            num_steps += 1
        waits.append(num_steps)
    assert max(waits) <= 8


def test_nothing_is_saved_up_by_asking_for_little() -> None:
    """One that had one request at a time, beside a flood, is no further ahead when it floods."""
    load = Load(make_scheduler(num_blocks=64), {"flood": 1.0, "little": 1.0})
    for _ in range(500):
        load.fill("flood", 50, 8)
        load.fill("little", 1, 8)
        load.step()
    load.served.clear()
    for _ in range(100):
        load.fill("flood", 50, 8)
        load.fill("little", 50, 8)
        load.step()
    assert load.served["flood"] / load.served.total() > 0.4


def test_nothing_is_owed_for_what_nobody_else_wanted() -> None:
    load = Load(make_scheduler(num_blocks=64), {"first": 1.0, "second": 1.0})
    for _ in range(500):
        load.fill("first", 4, 8)
        load.step()
    load.served.clear()
    for _ in range(100):
        load.fill("first", 50, 8)
        load.fill("second", 50, 8)
        load.step()
    assert load.served["first"] / load.served.total() > 0.4


def test_a_weight_may_change_while_requests_wait() -> None:
    weights = {"a": 1.0, "b": 1.0}
    load = Load(make_scheduler(num_blocks=64), weights)
    for weight in (1.0, 3.0):
        weights["b"] = weight
        load.served.clear()
        for _ in range(800):
            load.fill("a", 12, 8)
            load.fill("b", 12, 8)
            load.step()
        assert load.served["b"] / load.served["a"] == pytest.approx(weight, rel=0.1)


def test_what_is_computed_again_is_charged_once() -> None:
    """With few blocks, requests are preempted for want of them, each client's as often."""
    load = Load(make_scheduler(num_blocks=8), {"a": 1.0, "b": 1.0})
    ends: Counter[str] = Counter()
    sent = [load.send("ab"[i % 2], 4, 12) for i in range(300)]
    while load.scheduler.has_unfinished():
        load.step()
    ends.update(request.client for request in sent if request.status.finished)
    assert load.scheduler.stats().num_preemptions > 20
    assert ends == {"a": 150, "b": 150}
    assert all(request.num_charged_tokens == 15 for request in sent)


def test_shares_are_those_of_a_server_that_serves_all_at_once() -> None:
    """The definition, in steps of a thousandth of a token: who is behind or waits is served by
    weight at every moment."""
    shares = FairShares()
    for client, weight in (("a", 1.0), ("b", 2.0), ("c", 5.0)):
        shares.wait(client, weight)
    shares.charge("c", 5.0, 80)
    shares.rest("c")
    assert shares.now == pytest.approx(10)
    assert shares.served("c") == pytest.approx(16)
    # 16 - 10 of virtual time with all three, then with two.
    shares.charge("a", 1.0, 60)
    assert shares.now == pytest.approx(10 + 6 + (60 - 6 * 8) / 3)
    assert shares.served("c") == pytest.approx(shares.now)
    shares.check_integrity()


def test_shares_balance_whatever_happens() -> None:
    generator = random.Random(0)
    shares = FairShares()
    waiting: set[str] = set()
    for _ in range(4_000):
        client = generator.choice("abcdefgh")
        weight = 1.0 + "abcdefgh".index(client) % 3
        action = generator.randrange(3)
        if action == 0:
            shares.wait(client, weight)
            waiting.add(client)
        elif action == 1 and client in waiting:
            shares.rest(client)
            waiting.remove(client)
        else:
            shares.charge(client, weight, generator.randint(1, 50))
        shares.check_integrity()
        assert shares.waiting == waiting


def test_aborted_requests_leave_nothing_behind() -> None:
    load = Load(make_scheduler(num_blocks=64), {"a": 1.0, "b": 2.0})
    for _ in range(5):
        sent = [load.send("ab"[i % 2], 4, 4) for i in range(20)]
        load.step()
        for request in sent:
            load.scheduler.finish(request.request_id, RequestStatus.FINISHED_ABORTED)
        load.scheduler.check_integrity()
