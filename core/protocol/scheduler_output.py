"""What the scheduler decides for one step, and what the step gives back to it: plain data, so that
whoever computes it may be in another process."""

from __future__ import annotations

import msgspec

from .messages import Failure, MediaInput, MediaSpan, TokenLogprobs
from .sampling_params import SamplingParams


class NewRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be known of a request while it runs; told once, before its first chunk.

    prompt_token_ids: None unless `sampling_params.reads_prompt`.
    bad_word_ids: see EngineRequest.
    spans, grids: where images stand, and rows and columns of the features of each; none without
        positions in height and width.
    """

    request_id: str
    num_prompt_tokens: int
    sampling_params: SamplingParams
    prompt_token_ids: list[int] | None = None
    bad_word_ids: list[list[int]] = []
    spans: list[MediaSpan] = []
    grids: dict[str, tuple[int, int]] = {}


class FeatureRun(msgspec.Struct, frozen=True):
    """Tokens [offset, offset + length) of a chunk, which stand for an image's features from
    feature_start on."""

    media_key: str
    offset: int
    length: int
    feature_start: int


class ScheduledRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request's chunk: the tokens from position `start` on that a step computes.

    num_known_tokens: of the sequence, those of later steps too.
    first_block, block_ids: the block table from index first_block on, and nothing after it; left
        as it was if there are no block_ids.
    images: what stands for features.
    bidirectional: runs of positions [start, end) that reach into the chunk; see EngineRequest.
    """

    request_id: str
    start: int
    token_ids: list[int]
    num_known_tokens: int
    first_block: int = 0
    block_ids: list[int] = []
    images: list[FeatureRun] = []
    bidirectional: list[tuple[int, int]] = []

    @property
    def num_tokens(self) -> int:
        """Tokens of the chunk."""
        return len(self.token_ids)

    @property
    def end(self) -> int:
        """The position after the chunk."""
        return self.start + len(self.token_ids)

    @property
    def samples(self) -> bool:
        """Whether the chunk reaches the last known token, so that its logits are wanted and the
        next one is sampled."""
        return self.start + len(self.token_ids) == self.num_known_tokens


class SchedulerOutput(msgspec.Struct, omit_defaults=True):
    """What one step is to do, in this order: forget, get to know, encode, compute, sample.

    ended: requests that are to be forgotten; their ids may be in use again among the new ones.
    new: requests that have chunks for the first time.
    encode: images whose features must be computed before the forward, each once.
    evicted_media: keys of features to drop.
    preempted: requests that lost their blocks; they stay known.
    """

    scheduled: list[ScheduledRequest] = []
    new: list[NewRequest] = []
    ended: list[str] = []
    encode: list[MediaInput] = []
    evicted_media: list[str] = []
    preempted: list[str] = []

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole step."""
        return sum(item.num_tokens for item in self.scheduled)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute and nothing to forget."""
        return not (self.scheduled or self.ended or self.evicted_media)


class SampledTokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sampler chose for one request, in order.

    logprobs: one of each token, if asked for.
    ended: whether the last completes the answer, so that no other can follow.
    failure: why there are no tokens.
    """

    token_ids: list[int]
    logprobs: list[TokenLogprobs] = []
    ended: bool = False
    failure: Failure | None = None


class StepResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a step gave.

    sampled: of each request whose chunk samples, by id.
    prompt_logprobs: the next ones of each request that asked and has not got all.
    encode_seconds: what the encoder took.
    """

    sampled: dict[str, SampledTokens] = {}
    prompt_logprobs: dict[str, list[TokenLogprobs | None]] = {}
    encode_seconds: float = 0.0


class EncodeError(RuntimeError):
    """Images of a step can't be encoded, and nothing of it was computed. media_keys: which."""

    def __init__(self, message: str, media_keys: set[str]) -> None:
        super().__init__(message)
        self.media_keys = media_keys
