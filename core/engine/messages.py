"""What travels between a face and the engine core, whether in one process or across two."""

from __future__ import annotations

from typing import Literal

import msgspec

from .pixels import Pixels
from .sampling_params import SamplingParams


class MediaSpan(msgspec.Struct, frozen=True):
    """A run of prompt tokens [offset, offset + length) that stand for features of an image.

    An image whose features are parted by tokens of text, as between tiles, has several spans.

    media_key: SHA-256 of the image's bytes, in hex.
    feature_start: which of the image's features the first token stands for.
    """

    offset: int
    length: int
    media_key: str
    feature_start: int = 0

    @property
    def end(self) -> int:
        """The first position after the span."""
        return self.offset + self.length


class MediaInput(msgspec.Struct, frozen=True):
    """An image of a request, however often it is shown: its pixels and how many features they
    give.

    layout: what the encoder must know besides the pixel values; see PreprocessedImage.
    grid: rows and columns of the features, if they have positions in height and width.
    """

    media_key: str
    num_features: int
    pixels: Pixels
    layout: tuple[int, ...] = ()
    grid: tuple[int, int] | None = None


class EngineRequest(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """A request that is ready to be scheduled. Times are in seconds of `time.monotonic`.

    spans: in order; they don't overlap. media: the images they show, each once.
    bad_word_ids: the token sequences that spell sampling_params.bad_words.
    bidirectional: runs of prompt positions [start, end) whose tokens see each other, in order;
        each is computed in one step.
    priority: under the policy "priority", lower goes first.
    cache_salt: only requests with the same salt share cached blocks.
    queue_timeout, timeout: seconds until it must have been scheduled, and must have ended.
    """

    request_id: str
    prompt_token_ids: list[int]
    sampling_params: SamplingParams
    spans: list[MediaSpan]
    media: list[MediaInput]
    arrival_time: float
    bad_word_ids: list[list[int]] = []
    bidirectional: list[tuple[int, int]] = []
    priority: int = 0
    cache_salt: str = ""
    queue_timeout: float | None = None
    timeout: float | None = None


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Drop a request, or one of its answers, and free what it holds; unknown ones are ignored."""

    request_id: str
    index: int | None = None


class TokenLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities at one position, before temperature, penalties and truncation.

    chosen: that of the token there; rank: its place, 1 being the likeliest.
    top_ids, top_logprobs: the likeliest tokens, in order.
    """

    chosen: float
    rank: int
    top_ids: list[int]
    top_logprobs: list[float]


class RequestTimings(msgspec.Struct):
    """When a request passed each stage, in seconds of `time.monotonic`; 0 if it did not."""

    arrival: float = 0.0
    first_scheduled: float = 0.0
    first_token: float = 0.0
    finished: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """Why a request ended without its answer.

    kind: "invalid" if it could never run here, "queue_timeout" or "timeout" if it ran out of
        time, "failed" if the engine failed on it.
    """

    kind: Literal["invalid", "queue_timeout", "timeout", "failed"]
    message: str


class EngineOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one step did for one answer of a request.

    finish_reason: "stop", "length", "abort" or "error".
    prompt_logprobs: with the first token, if asked for; None for the first position and for
        images.
    num_cached_tokens: how much of the prompt came from the prefix cache.
    """

    request_id: str
    index: int
    new_token_ids: list[int] = []
    new_logprobs: list[TokenLogprobs] = []
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    finish_reason: str | None = None
    stop_token_id: int | None = None
    failure: Failure | None = None
    num_cached_tokens: int = 0
    timings: RequestTimings | None = None


class EngineStats(msgspec.Struct):
    """The state of the engine after a step, and what it counted since it started.

    prefix_cache_queries, prefix_cache_hits: prompt tokens looked up and found.
    encoder_runs: images encoded.
    """

    num_requests_running: int = 0
    num_requests_waiting: int = 0
    num_free_blocks: int = 0
    encoder_cache_pinned_bytes: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    num_preemptions: int = 0
    encoder_runs: int = 0


class StepReport(msgspec.Struct, frozen=True, tag=True):
    """All outputs of one step."""

    outputs: list[EngineOutput]
    stats: EngineStats


class EngineReady(msgspec.Struct, frozen=True, tag=True):
    """The engine has loaded its model; the facts that requests are checked against.

    eos_token_ids: tokens that end an answer.
    """

    max_model_len: int
    vocab_size: int
    num_blocks: int
    block_size: int
    eos_token_ids: list[int]


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The engine can't start with this configuration."""

    message: str
