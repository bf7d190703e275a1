"""What the faces give back, in the shape that users of vLLM know."""

from __future__ import annotations

from dataclasses import dataclass, field

from .messages import RequestTimings, TokenLogprobs


@dataclass
class CompletionOutput:
    """One generated answer so far. logprobs: one entry a token, if they were asked for."""

    index: int
    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    """A request with its answers."""

    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    metrics: RequestTimings = field(default_factory=RequestTimings)
