"""A request inside the engine, and the states of its life."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from ...protocol.messages import (
    EngineRequest,
    Failure,
    MediaInput,
    MediaSpan,
    RequestTimings,
    TokenLogprobs,
)
from ...protocol.sampling_params import SamplingParams
from ...protocol.scheduler_output import FeatureRun, NewRequest, ScheduledRequest


class RequestStatus(enum.Enum):
    """WAITING -> RUNNING <-> PREEMPTED -> one of the FINISHED states."""

    WAITING = (1, None)
    RUNNING = (2, None)
    PREEMPTED = (3, None)
    FINISHED_STOPPED = (4, "stop")
    FINISHED_LENGTH = (5, "length")
    FINISHED_ABORTED = (6, "abort")
    FINISHED_ERROR = (7, "error")
    #: With a token of the answer, not with one that ends answers.
    FINISHED_COMPLETE = (8, "stop")

    def __init__(self, number: int, finish_reason: str | None) -> None:
        #: The word for it in the API; None while unfinished.
        self.finish_reason = finish_reason

    @property
    def finished(self) -> bool:
        """Whether this state is final."""
        return self.finish_reason is not None


_FINISHED = {status for status in RequestStatus if status.finished}

_TRANSITIONS: dict[RequestStatus, set[RequestStatus]] = {
    RequestStatus.WAITING: {RequestStatus.RUNNING} | _FINISHED,
    RequestStatus.RUNNING: {RequestStatus.PREEMPTED} | _FINISHED,
    RequestStatus.PREEMPTED: {RequestStatus.RUNNING} | _FINISHED,
}


_NUM_SEEDS = 2**63


class IllegalTransitionError(RuntimeError):
    """A request was moved to a state that can't follow its present one."""


@dataclass(eq=False)
class Request:
    """Mutable state of one answer. Tokens are the prompt's, then the generated ones.

    request_id: unique to the answer; parent_id and index: the request and which of its answers.
    client: who sent it. log_id: see EngineRequest.
    weight: of its client's share. num_charged_tokens: those that the client was charged for.
    sequence_number: the order of arrival; rank:
        the place among all requests, lower first and unique. Both are set by the scheduler.
    num_computed_tokens: tokens whose keys and values are in the cache.
    spans: where its images stand; media: the images by key.
    bidirectional: runs of positions [start, end) whose tokens see each other.
    num_cached_tokens: how many of the prompt's came from the prefix cache at first.
    announced: whether the executor knows of it.
    block_hashes: digests of the full blocks of its tokens, as far as they were needed.
    prompt_logprobs: of the prompt's tokens so far; its first entry is always None.
    image_sources: see EngineOutput; one for all answers of a request.
    """

    parent_id: str
    index: int
    token_ids: list[int]
    num_prompt_tokens: int
    sampling_params: SamplingParams
    spans: list[MediaSpan]
    media: dict[str, MediaInput]
    timings: RequestTimings
    image_sources: dict[str, str] = field(default_factory=dict)
    bad_word_ids: list[list[int]] = field(default_factory=list)
    bidirectional: list[tuple[int, int]] = field(default_factory=list)
    priority: int = 0
    background: bool = False
    cache_salt: str = ""
    client: str = ""
    weight: float = 1.0
    log_id: str = ""
    queue_deadline: float | None = None
    deadline: float | None = None
    sequence_number: int = -1
    num_charged_tokens: int = 0
    rank: tuple[int, ...] = ()
    status: RequestStatus = RequestStatus.WAITING
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    announced: bool = False
    block_hashes: list[bytes] = field(default_factory=list)
    new_logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs | None] = field(default_factory=lambda: [None])
    stop_token_id: int | None = None
    failure: Failure | None = None

    @classmethod
    def fan_out(cls, message: EngineRequest) -> list[Request]:
        """The waiting requests for each of the n answers; answer i draws with seed + i."""
        sources: dict[str, str] = {}
        return [cls._from_message(message, i, sources) for i in range(message.sampling_params.n)]

    @classmethod
    def _from_message(
        cls, message: EngineRequest, index: int, image_sources: dict[str, str]
    ) -> Request:
        def deadline(timeout: float | None) -> float | None:
            return None if timeout is None else message.arrival_time + timeout

        params = message.sampling_params
        if index and params.seed is not None:
            seed = (params.seed + index) % _NUM_SEEDS
            params = msgspec.structs.replace(params, seed=seed)
        return cls(
            parent_id=message.request_id,
            index=index,
            token_ids=list(message.prompt_token_ids),
            num_prompt_tokens=len(message.prompt_token_ids),
            sampling_params=params,
            spans=message.spans,
            media={media.media_key: media for media in message.media},
            timings=RequestTimings(
                arrival=message.arrival_time,
                submitted=message.submit_time or time.monotonic(),
                images=message.image_seconds,
            ),
            image_sources=image_sources,
            bad_word_ids=message.bad_word_ids,
            bidirectional=message.bidirectional,
            priority=message.priority,
            background=message.background,
            cache_salt=message.cache_salt,
            client=message.client,
            weight=message.weight,
            log_id=message.log_id or message.request_id,
            queue_deadline=deadline(message.queue_timeout),
            deadline=deadline(message.timeout),
        )

    @cached_property
    def request_id(self) -> str:
        """The answer's own name."""
        return self.answer_id(self.parent_id, self.index)

    @staticmethod
    def answer_id(parent_id: str, index: int) -> str:
        """The name of one of a request's answers."""
        return f"{parent_id}/{index}"

    @staticmethod
    def parent_of(request_id: str) -> str:
        """The id of the request that an answer is one of."""
        return request_id.rpartition("/")[0]

    @cached_property
    def media_end(self) -> int:
        """The position after the last image; 0 without images."""
        return self.spans[-1].end if self.spans else 0

    def spans_within(self, start: int, end: int) -> list[MediaSpan]:
        """The spans that have tokens in [start, end)."""
        if start >= self.media_end:
            return []
        return [span for span in self.spans if span.offset < end and start < span.end]

    def announce(self) -> NewRequest:
        """What the executor is told of it."""
        grids = {key: media.grid for key, media in self.media.items() if media.grid}
        reads_prompt = self.sampling_params.reads_prompt
        return NewRequest(
            self.request_id,
            self.num_prompt_tokens,
            self.sampling_params,
            self.token_ids[: self.num_prompt_tokens] if reads_prompt else None,
            self.bad_word_ids,
            self.spans if grids else [],
            grids,
        )

    def next_chunk(
        self, num_tokens: int, first_block: int, block_ids: list[int]
    ) -> ScheduledRequest:
        """The tokens that follow the computed ones; see ScheduledRequest for the blocks."""
        start = self.num_computed_tokens
        end = start + num_tokens
        return ScheduledRequest(
            self.request_id,
            start,
            self.token_ids[start:end],
            len(self.token_ids),
            first_block,
            block_ids,
            self._feature_runs(start, end) if start < self.media_end else [],
            self._runs_within(start, end) if self.bidirectional else [],
        )

    def _feature_runs(self, start: int, end: int) -> list[FeatureRun]:
        runs = []
        for span in self.spans_within(start, end):
            first = max(span.offset, start)
            length = min(span.end, end) - first
            feature = span.feature_start + first - span.offset
            runs.append(FeatureRun(span.media_key, first - start, length, feature))
        return runs

    def run_around(self, position: int) -> tuple[int, int] | None:
        """The bidirectional run that a cut before this position would part."""
        return next((run for run in self.bidirectional if run[0] < position < run[1]), None)

    def _runs_within(self, start: int, end: int) -> list[tuple[int, int]]:
        return [run for run in self.bidirectional if run[0] < end and start < run[1]]

    def take_media(self) -> list[MediaInput]:
        """The images with their payloads, which the request keeps no longer."""
        taken = list(self.media.values())
        self.media = {m.media_key: msgspec.structs.replace(m, payload=None) for m in taken}
        return taken

    def shows_again(self, media_key: str) -> bool:
        """Whether it has yet to show an image after another."""
        ahead = [span.media_key for span in self.spans if span.end > self.num_computed_tokens]
        others = [i for i, key in enumerate(ahead) if key != media_key]
        return bool(others) and media_key in ahead[others[0] :]

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether some are still to be computed, so that no part of the prompt may be skipped."""
        asked = self.sampling_params.prompt_logprobs is not None
        return asked and len(self.prompt_logprobs) < self.num_prompt_tokens

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
