"""What travels between a face and the engine core, whether in one process or across two."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from .sampling_params import SamplingParams


class Pixels(msgspec.Struct, frozen=True):
    """One image's pixel values: float32, row-major, [channels, height, width]."""

    shape: tuple[int, int, int]
    data: bytes

    @classmethod
    def from_array(cls, array: NDArray[np.float32]) -> Pixels:
        """Copy an array's bytes."""
        channels, height, width = array.shape
        return cls((channels, height, width), np.ascontiguousarray(array).tobytes())

    def to_array(self) -> NDArray[np.float32]:
        """A writable copy."""
        return np.frombuffer(self.data, dtype=np.float32).reshape(self.shape).copy()


class MediaSpan(msgspec.Struct, frozen=True):
    """An image in a prompt: the tokens [offset, offset + length) stand for it.

    media_key: SHA-256 of the image's bytes, in hex.
    """

    offset: int
    length: int
    media_key: str

    @property
    def end(self) -> int:
        """The first position after the span."""
        return self.offset + self.length


class MediaInput(msgspec.Struct, frozen=True):
    """A span with the pixels that fill it."""

    span: MediaSpan
    pixels: Pixels


class EngineRequest(msgspec.Struct, frozen=True):
    """A request that is ready to be scheduled. Times are in seconds of `time.monotonic`."""

    request_id: str
    prompt_token_ids: list[int]
    sampling_params: SamplingParams
    media: list[MediaInput]
    arrival_time: float


class AbortRequests(msgspec.Struct, frozen=True):
    """Drop these requests and free what they hold; unknown ids are ignored."""

    request_ids: list[str]


class TokenLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities at one generated position, before temperature and truncation.

    chosen: that of the sampled token; rank: its place, 1 being the likeliest.
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


class EngineOutput(msgspec.Struct, frozen=True):
    """What one step did for one request. finish_reason: "stop", "length", "abort" or "error"."""

    request_id: str
    new_token_ids: list[int]
    new_logprobs: list[TokenLogprobs]
    finish_reason: str | None = None
    stop_token_id: int | None = None
    error: str | None = None
    timings: RequestTimings | None = None


class EngineReady(msgspec.Struct, frozen=True):
    """The engine has loaded its model."""

    max_model_len: int
    vocab_size: int
    num_blocks: int
    block_size: int
