"""Limits of a key, by a clock that stands still unless it is told to go on."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from octavo.app.tenants.account import Account, LimitError
from octavo.app.tenants.key_entry import KeyEntry
from octavo.app.tenants.token_bucket import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(clock: Clock) -> Callable[..., Account]:
    """One with limits."""

    def make(**limits: Any) -> Account:
        made = Account("alice", clock)
        made.follow(KeyEntry(sha256="0" * 64, **limits))
        return made

    return make


def test_no_minute_has_more_than_twice_the_limit_and_a_long_time_has_it_all(clock: Clock) -> None:
    """A bucket lets a full one go at once, and what flows in after: 120 in the worst minute."""
    generator = random.Random(0)
    bucket = TokenBucket(60, clock)
    taken: list[float] = []
    for _ in range(5000):
        clock.now += generator.random() * 0.9
        if bucket.seconds_until(1) == 0:
            bucket.spend(1)
            taken.append(clock.now)
    assert max(sum(t <= u < t + 60 for u in taken[i:]) for i, t in enumerate(taken)) <= 120
    assert len(taken) == pytest.approx(clock.now - 1000 + 60, abs=2)


def test_the_seconds_to_wait_are_enough_and_not_too_many(clock: Clock) -> None:
    bucket = TokenBucket(90, clock)
    bucket.spend(88)
    seconds = bucket.seconds_until(5)
    assert seconds == pytest.approx(2)
    clock.now += seconds - 0.01
    assert bucket.level < 5
    clock.now += 0.02
    assert bucket.level > 5
    assert bucket.full_in == pytest.approx((90 - 5.015) / 1.5)


def test_requests_a_minute(clock: Clock, account: Callable[..., Account]) -> None:
    alice = account(requests_per_minute=3)
    for _ in range(3):
        with alice.request():
            pass
    with pytest.raises(LimitError, match="the 3 requests that this key may have") as raised:
        alice.request().__enter__()
    assert (raised.value.kind, raised.value.retry_after) == ("requests", pytest.approx(20))
    clock.now += 20.5
    with alice.request():
        assert alice.headers() == {
            "x-ratelimit-limit-requests": "3",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "59.5s",
        }
    clock.now += 3600
    assert alice.headers()["x-ratelimit-reset-requests"] == "0ms"


def test_requests_at_once(account: Callable[..., Account]) -> None:
    alice = account(concurrent_requests=2)
    with ExitStack() as both:
        both.enter_context(alice.request())
        both.enter_context(alice.request())
        with pytest.raises(LimitError, match="2 requests of this key are open") as raised:
            alice.request().__enter__()
        assert raised.value.kind == "concurrent"
    with alice.request():
        assert alice.headers() == {}


def test_tokens_are_reserved_and_what_was_not_used_is_given_back(
    account: Callable[..., Account],
) -> None:
    alice = account(tokens_per_minute=100)

    def left() -> str:
        return alice.headers()["x-ratelimit-remaining-tokens"]

    with alice.spending(10, 60) as spending:
        assert left() == "40"
        with pytest.raises(LimitError, match="40 are left, and the request takes 41") as raised:
            alice.check_tokens(41)
        assert raised.value.retry_after == pytest.approx(0.6)
        spending.num_tokens = 15
    assert left() == "85"
    with pytest.raises(RuntimeError), alice.spending(10, 60):
        raise RuntimeError("the engine died")
    assert left() == "85", "what fails has used nothing"
    with pytest.raises(GeneratorExit), alice.spending(10, 60):
        raise GeneratorExit  # who asked has left before the first token
    assert left() == "75"
    with alice.spending(10, 20) as spending:
        spending.num_tokens = 175  # an answer that gave no limit, and was long
    assert left() == "0"
    with pytest.raises(LimitError) as raised:
        alice.check_tokens(1)
    assert raised.value.retry_after == pytest.approx(101 * 0.6)


def test_what_can_never_be_is_told_so(account: Callable[..., Account]) -> None:
    alice = account(tokens_per_minute=100, image_pixels_per_minute=1000)
    with pytest.raises(LimitError, match="takes 101, more than the 100 tokens") as raised:
        alice.check_tokens(101)
    assert raised.value.retry_after is None
    assert "lower max_tokens" in str(raised.value)
    with pytest.raises(LimitError, match="takes 1001, more than the 1000 pixels") as raised:
        alice.take_pixels(1001)
    assert raised.value.retry_after is None
    alice.take_pixels(1000)
    with pytest.raises(LimitError):
        alice.check_pixels()


def test_what_was_taken_stays_taken_when_a_limit_changes(
    clock: Clock, account: Callable[..., Account]
) -> None:
    alice = account(requests_per_minute=10)
    for _ in range(8):
        with alice.request():
            pass
    alice.follow(KeyEntry(sha256="0" * 64, requests_per_minute=20))
    assert alice.headers()["x-ratelimit-remaining-requests"] == "12"
    alice.follow(KeyEntry(sha256="0" * 64, requests_per_minute=5))
    assert alice.headers()["x-ratelimit-remaining-requests"] == "0"
    clock.now += 120
    assert alice.headers()["x-ratelimit-remaining-requests"] == "5"
    alice.follow(KeyEntry(sha256="0" * 64))
    assert alice.headers() == {}
