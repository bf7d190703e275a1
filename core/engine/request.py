"""A request inside the engine, and the states of its life."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field

from .messages import EngineRequest, MediaInput, RequestTimings, TokenLogprobs
from .sampling_params import SamplingParams


class RequestStatus(enum.Enum):
    """WAITING -> RUNNING <-> PREEMPTED -> one of the FINISHED states."""

    WAITING = enum.auto()
    RUNNING = enum.auto()
    PREEMPTED = enum.auto()
    FINISHED_STOPPED = enum.auto()
    FINISHED_LENGTH = enum.auto()
    FINISHED_ABORTED = enum.auto()
    FINISHED_ERROR = enum.auto()

    @property
    def finished(self) -> bool:
        """Whether this state is final."""
        return self in _FINISH_REASONS

    @property
    def finish_reason(self) -> str | None:
        """The word for it in the API; None while unfinished."""
        return _FINISH_REASONS.get(self)


_FINISH_REASONS = {
    RequestStatus.FINISHED_STOPPED: "stop",
    RequestStatus.FINISHED_LENGTH: "length",
    RequestStatus.FINISHED_ABORTED: "abort",
    RequestStatus.FINISHED_ERROR: "error",
}

_TRANSITIONS: dict[RequestStatus, set[RequestStatus]] = {
    RequestStatus.WAITING: {RequestStatus.RUNNING} | set(_FINISH_REASONS),
    RequestStatus.RUNNING: {RequestStatus.PREEMPTED} | set(_FINISH_REASONS),
    RequestStatus.PREEMPTED: {RequestStatus.RUNNING} | set(_FINISH_REASONS),
}


class IllegalTransitionError(RuntimeError):
    """A request was moved to a state that can't follow its present one."""


@dataclass(eq=False)
class Request:
    """Mutable state of one request. Tokens are the prompt's, then the generated ones.

    num_computed_tokens: tokens whose keys and values are in the cache.
    block_hashes: digests of the full blocks of its tokens, as far as they were needed.
    """

    request_id: str
    token_ids: list[int]
    num_prompt_tokens: int
    sampling_params: SamplingParams
    media: list[MediaInput]
    timings: RequestTimings
    status: RequestStatus = RequestStatus.WAITING
    num_computed_tokens: int = 0
    block_hashes: list[bytes] = field(default_factory=list)
    new_logprobs: list[TokenLogprobs] = field(default_factory=list)
    stop_token_id: int | None = None
    error: str | None = None

    @classmethod
    def from_message(cls, message: EngineRequest) -> Request:
        """A waiting request."""
        return cls(
            request_id=message.request_id,
            token_ids=list(message.prompt_token_ids),
            num_prompt_tokens=len(message.prompt_token_ids),
            sampling_params=message.sampling_params,
            media=message.media,
            timings=RequestTimings(arrival=message.arrival_time),
        )

    @property
    def num_tokens(self) -> int:
        """Prompt and generated tokens known so far."""
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        """Generated tokens."""
        return len(self.token_ids) - self.num_prompt_tokens

    def transition(self, status: RequestStatus) -> None:
        """Change state and note the time. Raises IllegalTransitionError."""
        if status not in _TRANSITIONS.get(self.status, ()):
            raise IllegalTransitionError(
                f"request {self.request_id}: {self.status.name} can't become {status.name}"
            )
        self.status = status
        now = time.monotonic()
        if status is RequestStatus.RUNNING and not self.timings.first_scheduled:
            self.timings.first_scheduled = now
        if status.finished:
            self.timings.finished = now
