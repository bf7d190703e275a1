"""The circuit breaker, by a clock that the test moves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from octavo.core.encoder_store.breaker import CircuitBreaker


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(failures=3, pause=1.0, max_pause=5.0, clock=clock)
    assert [breaker.failure() for _ in range(3)] == [False, False, True]
    return breaker


def test_only_failures_in_a_row_open_it(clock: Clock) -> None:
    breaker = CircuitBreaker(failures=3, clock=clock)
    for _ in range(5):
        breaker.failure()
        breaker.failure()
        assert not breaker.success()
    assert breaker.allow()
    assert not breaker.is_open


def test_one_caller_tries_after_the_pause(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 0.99
    assert not breaker.allow()
    clock.now += 0.02
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    assert breaker.is_open
    assert breaker.success()
    assert not breaker.is_open
    assert breaker.allow()


def test_failed_trials_double_the_pause_up_to_the_limit(clock: Clock) -> None:
    breaker = opened(clock)
    for pause in (1.0, 2.0, 4.0, 5.0, 5.0):
        clock.now += pause - 0.01
        assert not breaker.allow()
        clock.now += 0.02
        assert breaker.allow()
        assert not breaker.failure()
    breaker.success()
    for _ in range(3):
        breaker.failure()
    clock.now += 1.01
    assert breaker.allow(), "the pause did not begin anew after a success"


def test_a_trial_that_never_reports_holds_others_up_for_one_pause(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 1.01
    assert breaker.allow()
    clock.now += 0.9
    assert not breaker.allow()
    clock.now += 0.2
    assert breaker.allow()


def test_failures_of_calls_from_before_it_opened_change_nothing(clock: Clock) -> None:
    breaker = opened(clock)
    for _ in range(10):
        clock.now += 0.05
        assert not breaker.failure()
    clock.now += 0.51
    assert breaker.allow()


def test_of_many_threads_one_may_try(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 1.01
    barrier = Barrier(20)

    def attempt(_: int) -> bool:
        barrier.wait()
        return breaker.allow()

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(attempt, range(20))) == 1
