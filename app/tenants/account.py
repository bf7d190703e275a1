"""What the holder of a key takes, and its limits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ...core.observe.key_metrics import KeyMetrics
from ...core.protocol.outputs import RequestOutput
from .key_entry import KeyEntry
from .token_bucket import Clock, TokenBucket

#: Tokens that an answer without a limit of its own is taken to have, until it is known.
_UNKNOWN_ANSWER = 256
#: A limit's field, and what its units are called in headers and in words.
_BUCKETS = {
    "requests_per_minute": ("requests", "requests"),
    "tokens_per_minute": ("tokens", "tokens"),
    "image_pixels_per_minute": ("image-pixels", "pixels of images"),
}


class LimitError(Exception):
    """A limit of the key is reached. kind: of "requests", "tokens", "image-pixels" or "concurrent".
    retry_after: seconds until it may go well; None for what never will."""

    def __init__(self, message: str, kind: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class Account:
    """Of one key, whose entry may change. clock: see TokenBucket. metrics: of a server."""

    def __init__(
        self, name: str, clock: Clock = time.monotonic, metrics: KeyMetrics | None = None
    ) -> None:
        self.name = name
        self._metrics = metrics
        self._clock = clock
        self._entry: KeyEntry | None = None
        self._buckets: dict[str, TokenBucket] = {}
        self._most_open: int | None = None
        self._num_open = 0

    def follow(self, entry: KeyEntry) -> None:
        """The limits are those of this entry from now on; what was taken stays taken."""
        if entry == self._entry:
            return
        self._entry = entry
        self._most_open = entry.concurrent_requests
        for field, (kind, _) in _BUCKETS.items():
            per_minute = getattr(entry, field)
            known = self._buckets.pop(kind, None)
            if per_minute is not None:
                self._buckets[kind] = (
                    TokenBucket(per_minute, self._clock)
                    if known is None
                    else known.resized(per_minute)
                )

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request is open. Raises LimitError if it is one too many, now or in this minute."""
        if self._most_open is not None and self._num_open >= self._most_open:
            raise LimitError(
                f"{self._num_open} requests of this key are open, as many as may be at once; send "
                "the request again when one of them has ended",
                "concurrent",
                1.0,
            )
        self._take("requests", 1)
        self._num_open += 1
        try:
            yield
        finally:
            self._num_open -= 1

    def take_request(self) -> None:
        """One that doesn't count among those that are open: who sends it bounds their number.
        Raises LimitError if it is one too many in this minute."""
        self._take("requests", 1)

    def check_tokens(self, num_tokens: int) -> None:
        """Raises LimitError if so many can't be had now."""
        self._check("tokens", num_tokens)

    def check_pixels(self) -> None:
        """Raises LimitError if no image can be had now."""
        self._check("image-pixels", 1)

    def take_pixels(self, num_pixels: int) -> None:
        """Raises LimitError if so many can't be had now."""
        self._take("image-pixels", num_pixels)

    def spend_tokens(self, num_prompt_tokens: int) -> None:
        """Count those of a prompt that are known only once they were used."""
        self._spend_tokens(num_prompt_tokens)
        self._count(num_prompt_tokens, 0)

    @contextmanager
    def spending(self, num_prompt_tokens: int, reserved: int) -> Iterator[Spending]:
        """A request of a prompt may use so many tokens with its answers, and tells what it did use.
        One that fails has used nothing."""
        self._spend_tokens(reserved)
        spending = Spending(num_prompt_tokens)
        try:
            yield spending
        except Exception:
            spending.num_tokens = 0
            raise
        finally:
            self._spend_tokens(spending.num_tokens - reserved)
            if spending.num_tokens:
                self._count(num_prompt_tokens, spending.num_tokens - num_prompt_tokens)

    def headers(self) -> dict[str, str]:
        """What is left, as OpenAI's API says it."""
        told: dict[str, str] = {}
        for kind, bucket in self._buckets.items():
            told |= {
                f"x-ratelimit-limit-{kind}": str(bucket.per_minute),
                f"x-ratelimit-remaining-{kind}": str(max(0, math.floor(bucket.level))),
                f"x-ratelimit-reset-{kind}": _duration(bucket.full_in),
            }
        return told

    def _spend_tokens(self, num_tokens: int) -> None:
        if "tokens" in self._buckets:
            self._buckets["tokens"].spend(num_tokens)

    def _count(self, num_prompt_tokens: int, num_generated: int) -> None:
        if self._metrics is not None:
            self._metrics.count_tokens(self.name, num_prompt_tokens, num_generated)

    def _take(self, kind: str, amount: int) -> None:
        self._check(kind, amount)
        if kind in self._buckets:
            self._buckets[kind].spend(amount)

    def _check(self, kind: str, amount: int) -> None:
        bucket = self._buckets.get(kind)
        if bucket is None:
            return
        name = dict(_BUCKETS.values())[kind]
        limit = f"the {bucket.per_minute} {name} that this key may have in a minute"
        if amount > bucket.per_minute:
            remedy = "; lower max_tokens" if kind == "tokens" else ""
            raise LimitError(f"the request takes {amount}, more than {limit}{remedy}", kind, None)
        seconds = bucket.seconds_until(amount)
        if seconds > 0:
            left = max(0, math.floor(bucket.level))
            raise LimitError(
                f"of {limit} {left} are left, and the request takes {amount}; send it again in "
                f"{_duration(seconds)}",
                kind,
                seconds,
            )


def tokens_of_answers(num_answers: int, limit: int | None) -> int:
    """What answers are taken to have before they are known. limit: of one."""
    return num_answers * (_UNKNOWN_ANSWER if limit is None else limit)


class Spending:
    """num_tokens: what a request has used so far."""

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens

    def update(self, output: RequestOutput) -> None:
        """What has come of it."""
        generated = sum(len(answer.token_ids) for answer in output.outputs)
        self.num_tokens = len(output.prompt_token_ids) + generated


def _duration(seconds: float) -> str:
    """As OpenAI writes it: 120ms, 6.5s, 1m0s."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1000, 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"


#: Of who is answered without a key.
UNLIMITED = Account("")
