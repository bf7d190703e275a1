"""Clients take turns: what one has queued doesn't keep another waiting."""

from __future__ import annotations

import random
import sys
from types import FrameType
from typing import Any

from octavo.core.engine.scheduling.request import Request, RequestStatus
from octavo.core.engine.scheduling.scheduler import Scheduler
from scheduling import make_request, make_scheduler, result_of

LENGTH = 3


def add(scheduler: Scheduler, client: str, name: str, **options: Any) -> Request:
    (request,) = make_request(name, [5, 6, 7], [], LENGTH, client=client, **options)
    scheduler.add(request)
    return request


def compute(scheduler: Scheduler) -> list[str]:
    """One step; returns the names of the requests that it was the first to compute."""
    output = scheduler.schedule()
    scheduler.update(output, result_of(output))
    return [Request.parent_of(new.request_id) for new in output.new]


def step(scheduler: Scheduler) -> list[str]:
    """The same, checked."""
    started = compute(scheduler)
    scheduler.check_integrity()
    return started


def order(scheduler: Scheduler) -> list[str]:
    """The names in the order in which they start, until all have ended."""
    names = []
    while scheduler.has_unfinished():
        names += step(scheduler)
    return names


def flood(scheduler: Scheduler, client: str, count: int, **options: Any) -> list[str]:
    return [add(scheduler, client, f"{client}{i}", **options).parent_id for i in range(count)]


def test_one_request_does_not_wait_for_300_of_another_client() -> None:
    scheduler = make_scheduler(max_num_seqs=4)
    flood(scheduler, "a", 300)
    for _ in range(2):
        step(scheduler)
    polite = add(scheduler, "b", "b0")
    num_steps = 1
    while polite.parent_id not in step(scheduler):
        num_steps += 1
    # The four that run end together, one more of the other client has the turn before.
    assert num_steps <= LENGTH
    assert len(scheduler.waiting) == 300 - 4 - 3
    assert order(scheduler)[-1] == "a299"


def test_clients_alternate_and_each_is_served_in_order() -> None:
    scheduler = make_scheduler(max_num_seqs=1)
    names = {client: flood(scheduler, client, count) for client, count in (("a", 6), ("b", 3))}
    started = order(scheduler)
    assert started == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "a4", "a5"]
    for client, sent in names.items():
        assert [name for name in started if name[0] == client] == sent


def test_one_client_is_served_first_come_first_served() -> None:
    scheduler = make_scheduler()
    assert flood(scheduler, "", 20) == order(scheduler)


def test_new_clients_without_end_starve_nobody() -> None:
    scheduler = make_scheduler(max_num_seqs=1)
    flood(scheduler, "a", 5)
    started = []
    for i in range(80):
        add(scheduler, f"new{i}", f"new{i}")
        started += step(scheduler)
    # By then, a client is one of more than fifty.
    assert {"a0", "a1"} <= set(started)


def test_turns_are_taken_within_equal_priority() -> None:
    scheduler = make_scheduler(max_num_seqs=1, policy="priority")
    flood(scheduler, "a", 4, priority=1)
    add(scheduler, "b", "late", priority=1)
    add(scheduler, "a", "urgent", priority=0)
    started = order(scheduler)
    assert started == ["urgent", "a0", "late", "a1", "a2", "a3"]


def test_what_never_started_costs_no_turn() -> None:
    scheduler = make_scheduler(max_num_seqs=1)
    flood(scheduler, "a", 50)
    for i in range(1, 50):
        scheduler.finish(f"a{i}/0", RequestStatus.FINISHED_ABORTED)
    flood(scheduler, "b", 50)
    add(scheduler, "a", "again")
    assert order(scheduler).index("again") <= 3


def test_nobody_is_preempted_for_a_turn() -> None:
    """Random clients come and go; under one class, who runs stays."""
    generator = random.Random(0)
    scheduler = make_scheduler(num_blocks=64)
    for i in range(400):
        for _ in range(generator.randrange(3)):
            add(scheduler, generator.choice("abcdef"), f"{i}-{generator.random()}")
        if scheduler.waiting and generator.random() < 0.2:
            left = generator.choice(list(scheduler.waiting))
            scheduler.finish(left.request_id, RequestStatus.FINISHED_ABORTED)
        step(scheduler)
    assert scheduler.stats().num_preemptions == 0
    order(scheduler)


def calls_of_a_step(num_waiting: int, num_clients: int) -> int:
    """How many functions, Python's and C's, a step calls in which a request ends and another
    starts."""
    scheduler = make_scheduler(max_num_seqs=1)
    for i in range(num_waiting):
        add(scheduler, f"client{i % num_clients}", str(i))
    for _ in range(LENGTH):
        compute(scheduler)
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        output = scheduler.schedule()
    finally:
        sys.setprofile(None)
    assert len(output.scheduled) == len(output.new) == 1
    return calls


def test_a_step_costs_the_same_with_10_000_queued() -> None:
    assert calls_of_a_step(10_000, 1_000) <= calls_of_a_step(20, 2)
