"""The engine's settings."""

from __future__ import annotations

from dataclasses import dataclass

from .media_limits import MediaLimits

_COUNTS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "max_image_pixels",
    "max_image_tokens",
    "max_image_bytes",
    "max_images_per_prompt",
    "encoder_cache_max_item",
)
_LONGEST_S = 1e9
#: A server's `max_logprobs`, as vLLM's: of all tokens of a vocabulary, one request could ask for
#: gigabytes.
SERVED_LOGPROBS = 20
SCHEDULING_POLICIES = ("fcfs", "priority")
MODEL_IMPLS = ("auto", "octavo", "transformers")
DTYPES = ("auto", "float32", "bfloat16", "float16")
KV_CACHE_DTYPES = ("auto", "float32", "bfloat16")


class ConfigError(ValueError):
    """A setting that can't work, with what to do about it."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Everything an operator can set. Raises ConfigError for a value that can't work.

    model: a local folder or a repository id on the Hugging Face hub.
    model_impl: "octavo" for a plugin's model, "transformers" for automatic deployment, "auto" for
        the latter only where there is no plugin.
    dtype: "auto" takes the checkpoint's, or float32 where the processor is slow in it.
    kv_cache_dtype: "auto" takes that of activations, or bfloat16 where a CPU computes a
        checkpoint of that dtype in float32.
    quantization: a method that makes the language model's weights smaller as they are loaded.
    max_model_len: longest prompt plus output, in tokens; None takes the model's own limit.
    max_num_seqs: requests that run at once.
    max_num_batched_tokens: tokens computed in one step; None is 2048, or as many as the longest
        prompt where prompts must be computed whole.
    block_size: tokens in one block of the KV cache.
    enable_prefix_caching: reuse the keys and values of prompts that begin alike.
    kv_cache_memory: bytes for the KV cache; None sizes it from what is free.
    encoder_cache_memory: bytes for the features of images that are in use or may be again.
    scheduling_policy: "fcfs", or "priority" for the requests' own priorities; clients take turns.
    max_num_queued_reqs: requests that may wait beyond max_num_seqs.
    queue_timeout, request_timeout: seconds a request may wait, and last, unless it says itself;
        None is forever.
    engine_stall_timeout: seconds that a process which runs a model may be silent without using
        the processor until it is taken for hung and started again.
    max_logprobs: likeliest tokens whose log-probabilities a request may ask for, at each position;
        -1 is the whole vocabulary. Of a server it is 20 unless it is told otherwise.
    batch_invariant: log-probabilities don't depend, to the bit, on what else runs or is cached.
    trace: a file for a trace of every step, in the format of Chrome and Perfetto.
    max_image_tokens: what an image may take of a prompt; larger ones are shrunk or cut into fewer
        tiles, and refused by models that can't. None leaves it to the model.
    max_image_pixels, max_image_bytes: larger images are refused before they are decoded.
    max_images_per_prompt: more are refused.
    image_background: what shows through transparent images, as RGB.
    encoder_cache: the URL of a store for features of images, such as redis://host:6379/0, that
        several processes share and that outlives them; None for none.
    encoder_cache_ttl: seconds until it forgets an image.
    encoder_cache_max_item: bytes of an image's features; larger ones are not kept in it.
    encoder_cache_compression: whether features are written to it compressed with zstd.
    """

    model: str
    model_impl: str = "auto"
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    device: str = "auto"
    quantization: str | None = None
    max_model_len: int | None = None
    max_num_seqs: int = 64
    max_num_batched_tokens: int | None = None
    block_size: int = 16
    enable_prefix_caching: bool = True
    kv_cache_memory: int | None = None
    encoder_cache_memory: int = 256 * 2**20
    max_image_tokens: int | None = None
    max_image_pixels: int = MediaLimits.max_pixels
    max_image_bytes: int = MediaLimits.max_bytes
    max_images_per_prompt: int = 64
    image_background: tuple[int, int, int] = (255, 255, 255)
    encoder_cache: str | None = None
    encoder_cache_ttl: float = 7 * 24 * 3600.0
    encoder_cache_max_item: int = 64 * 2**20
    encoder_cache_compression: bool = False
    scheduling_policy: str = "fcfs"
    max_num_queued_reqs: int = 1024
    queue_timeout: float | None = None
    request_timeout: float | None = None
    engine_stall_timeout: float = 30.0
    max_logprobs: int = -1
    batch_invariant: bool = False
    trace: str | None = None

    @property
    def media_limits(self) -> MediaLimits:
        """What an image may be."""
        return MediaLimits(max_pixels=self.max_image_pixels, max_bytes=self.max_image_bytes)

    def __post_init__(self) -> None:
        if self.model_impl not in MODEL_IMPLS:
            raise ConfigError(
                f"model_impl must be one of {', '.join(MODEL_IMPLS)}, got {self.model_impl!r}"
            )
        for name, known in (("dtype", DTYPES), ("kv_cache_dtype", KV_CACHE_DTYPES)):
            given = getattr(self, name)
            if given not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {given!r}")
        if self.scheduling_policy not in SCHEDULING_POLICIES:
            raise ConfigError(
                f"scheduling_policy must be one of {', '.join(SCHEDULING_POLICIES)}, "
                f"got {self.scheduling_policy!r}"
            )
        # Between processes, as JSON, tuples become lists.
        object.__setattr__(self, "image_background", tuple(self.image_background))
        if not _is_colour(self.image_background):
            raise ConfigError(
                f"image_background must be three numbers from 0 to 255, got {self.image_background}"
            )
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        for name in (
            "queue_timeout",
            "request_timeout",
            "engine_stall_timeout",
            "encoder_cache_ttl",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < _LONGEST_S:
                raise ConfigError(f"{name} must be above 0 seconds and finite, got {value}")
        if self.max_num_queued_reqs < 0:
            raise ConfigError(
                f"max_num_queued_reqs must be at least 0, got {self.max_num_queued_reqs}"
            )
        if self.max_logprobs < -1:
            raise ConfigError(f"max_logprobs must be at least 0, or -1, got {self.max_logprobs}")
        if self.max_model_len is not None and self.max_model_len < 2:
            raise ConfigError(f"max_model_len must be at least 2, got {self.max_model_len}")


def _is_colour(value: tuple[int, ...]) -> bool:
    return len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value)
