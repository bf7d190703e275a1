"""What travels between a face and the engine core, whether in one process or across two."""

from __future__ import annotations

from typing import Literal

import msgspec

from .runtime_facts import RuntimeFacts
from .sampling_params import SamplingParams
from .shared_array import SharedArray

#: A character is of no more tokens than its bytes.
_CONTEXT_LENGTH = 4


class MediaSpan(msgspec.Struct, frozen=True):
    """A run of prompt tokens [offset, offset + length) that stand for features of an image.

    An image whose features are parted by tokens of text, as between tiles, has several spans.

    media_key: names the image and whatever else its features depend on; see `media_key.py`.
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


class PixelInput(msgspec.Struct, frozen=True, tag="pixels"):
    """A preprocessed image that is to be encoded; see PreprocessedImage."""

    pixels: SharedArray
    layout: tuple[int, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes of the pixel values."""
        return self.pixels.num_bytes


class FeatureInput(msgspec.Struct, frozen=True, tag="features"):
    """What the encoder gave for an image at another time or place.

    dtype: "float32", "float16", or "bfloat16", which is held as uint16.
    features: [num_features, hidden_size].
    source: the encoder store's name, or "request" if they came with it.
    """

    dtype: str
    features: SharedArray
    source: str

    @property
    def num_bytes(self) -> int:
        """Bytes of the features."""
        return self.features.num_bytes


MediaPayload = PixelInput | FeatureInput


class MediaInput(msgspec.Struct, frozen=True):
    """An image of a request, however often it is shown, and how many features it has.

    payload: None where the engine is believed to have its features; if it hasn't, it asks.
    grid: rows and columns of the features, if they have positions in height and width.
    """

    media_key: str
    num_features: int
    payload: MediaPayload | None = None
    grid: tuple[int, int] | None = None


class EngineRequest(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """A request that is ready to be scheduled. Times are in seconds of `time.monotonic`.

    spans: in order; they don't overlap. media: the images they show, each once.
    bad_word_ids: the token sequences of sampling_params' bad_words and bad_words_ids.
    bidirectional: runs of prompt positions [start, end) whose tokens see each other, in order;
        each is computed in one step.
    priority: under the policy "priority", lower goes first.
    cache_salt: only requests with the same salt share cached blocks.
    encoder_digest: of the engine for which the images' keys were made.
    client: who sent it, by any name; of one priority, clients are served in the ratio of their
        weights.
    log_id: of the client's request that it is part of, as logs have it; request_id if empty.
    image_seconds: what reading and preparing its images took.
    submit_time: when it was handed over; 0 for the time at which the engine takes it.
    queue_timeout, timeout: seconds until it must have been scheduled, and must have ended.
    continues_text: whether its answers go on with the text of the prompt.
    background: whether it comes after all that are not, under every policy.
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
    encoder_digest: str = ""
    client: str = ""
    log_id: str = ""
    image_seconds: float = 0.0
    submit_time: float = 0.0
    continues_text: bool = False
    background: bool = False
    weight: float = 1.0

    @property
    def text_context(self) -> list[int]:
        """The tokens, at the prompt's end, that the texts of answers are decoded after. What has a
        form is a text of its own, and so are answers in a chat."""
        params = self.sampling_params
        has_form = params.structured_outputs is not None or params.token_automaton is not None
        goes_on = self.continues_text and not has_form
        return self.prompt_token_ids[-_CONTEXT_LENGTH:] if goes_on else []


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Drop a request, or one of its answers, and free what it holds; unknown ones are ignored."""

    request_id: str
    index: int | None = None


class MediaSupply(msgspec.Struct, frozen=True, tag=True):
    """An image that the engine asked for with MediaWanted."""

    media: MediaInput


class MediaWanted(msgspec.Struct, frozen=True):
    """The engine lacks images of a request, which waits for them: they were not sent as their
    features were there, and have been evicted since."""

    request_id: str
    media_keys: list[str]


class MediaEvents(msgspec.Struct, omit_defaults=True):
    """What became of images in a step.

    evicted: keys whose features are gone; encoded: those whose features are there now, in this
        order; encode_seconds: what the encoder took for them.
    wanted: what is missing.
    """

    evicted: list[str] = []
    encoded: list[str] = []
    encode_seconds: float = 0.0
    wanted: list[MediaWanted] = []


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
    """When a request passed each stage, in seconds of `time.monotonic`; 0 if it did not.

    submitted: its images were ready, and it was handed to the engine.
    images: seconds that reading and preparing its images took before that.
    encode: seconds that the encoder took, before the first token, in steps that encoded an image
        for it.
    """

    arrival: float = 0.0
    submitted: float = 0.0
    first_scheduled: float = 0.0
    first_token: float = 0.0
    finished: float = 0.0
    images: float = 0.0
    encode: float = 0.0


FailureKind = Literal["invalid", "queue_timeout", "timeout", "failed"]


class Failure(msgspec.Struct, frozen=True):
    """Why a request ended without its answer.

    kind: "invalid" if it could never run here, "queue_timeout" or "timeout" if it ran out of
        time, "failed" if the engine failed on it.
    """

    kind: FailureKind
    message: str


class EngineOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one step did for one answer of a request.

    finish_reason: "stop", "length", "abort" or "error".
    complete: of a "stop", whether the last token belongs to the answer, which nothing can follow.
    prompt_logprobs: with the first token, if asked for; None for the first position and for
        images.
    num_cached_tokens: how much of the prompt came from the prefix cache.
    timings: with the first token, and at the end.
    image_sources: with them, where the features of its images were when the request, by any of its
        answers, first needed them: see `RequestOutput`. An image that is not in it was not needed.
    """

    request_id: str
    index: int
    new_token_ids: list[int] = []
    new_logprobs: list[TokenLogprobs] = []
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    finish_reason: str | None = None
    stop_token_id: int | None = None
    complete: bool = False
    failure: Failure | None = None
    num_cached_tokens: int = 0
    timings: RequestTimings | None = None
    image_sources: dict[str, str] = {}


class StoreWrites(msgspec.Struct, frozen=True):
    """Features that were written to the encoder store since the engine started.

    dropped: not written, as too many waited for it.
    """

    writes: int = 0
    bytes_written: int = 0
    errors: int = 0
    dropped: int = 0
    breaker_open: bool = False


class EngineStats(msgspec.Struct):
    """The state of the engine after a step, and what it counted since it started.

    num_free_blocks: KV blocks that no request holds.
    num_cached_blocks: those of them whose contents the prefix cache can find.
    prefix_cache_queries, prefix_cache_hits: prompt tokens looked up and found.
    encoder_runs: images encoded; encoder_loads: features taken as they came.
    store: what the engine wrote to the encoder store.
    """

    num_requests_running: int = 0
    num_requests_waiting: int = 0
    num_free_blocks: int = 0
    num_cached_blocks: int = 0
    encoder_cache_pinned_bytes: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    num_preemptions: int = 0
    encoder_runs: int = 0
    encoder_loads: int = 0
    store: StoreWrites = StoreWrites()


class StepReport(msgspec.Struct, frozen=True, tag=True):
    """All outputs of one step."""

    outputs: list[EngineOutput]
    stats: EngineStats
    media: MediaEvents


class RequestsStarted(msgspec.Struct, frozen=True, tag=True):
    """Requests that the step which begins now is the first to compute."""

    request_ids: list[str]


class EngineFacts(msgspec.Struct, frozen=True, tag=True):
    """The engine has loaded its model; the facts that requests are checked against.

    eos_token_ids: tokens that end an answer.
    hidden_size, dtype: width and number format of an image's features.
    encoder_digest: of all that features depend on beside the image; see `encoder_digest.py`.
    max_logprobs: see EngineConfig.
    runtime: what the model runs on, of which nothing else depends.
    """

    max_model_len: int
    vocab_size: int
    num_blocks: int
    block_size: int
    eos_token_ids: list[int]
    hidden_size: int
    dtype: str
    encoder_digest: str
    max_logprobs: int = -1
    runtime: RuntimeFacts = RuntimeFacts()


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The engine can't start with this configuration."""

    message: str
