"""What the scheduler decides for one step, and what the step gives back to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ...protocol.messages import MediaInput, TokenLogprobs
from .request import Request


class ScheduledRequest(msgspec.Struct, frozen=True):
    """A request and the chunk of it that a step computes: num_tokens from `start` on."""

    request: Request
    start: int
    num_tokens: int

    @property
    def end(self) -> int:
        """The position after the chunk."""
        return self.start + self.num_tokens

    @property
    def samples(self) -> bool:
        """Whether the chunk reaches the last known token, so that the next one is sampled."""
        return self.end == self.request.num_tokens


@dataclass
class SchedulerOutput:
    """What one step is to do.

    encode: images whose features must be computed before the forward, each once.
    evicted_media: keys of features to drop.
    """

    scheduled: list[ScheduledRequest] = field(default_factory=list)
    encode: list[MediaInput] = field(default_factory=list)
    evicted_media: list[str] = field(default_factory=list)
    preempted: list[Request] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole step."""
        return sum(item.num_tokens for item in self.scheduled)


class SampledToken(msgspec.Struct, frozen=True):
    """What the sampler chose for one request; error: why it could not."""

    token_id: int
    logprobs: TokenLogprobs | None = None
    error: str | None = None
