"""The engine's settings."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("auto", "float32", "bfloat16", "float16")


class ConfigError(ValueError):
    """A setting that can't work, with what to do about it."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Everything an operator can set. Raises ConfigError for a value that can't work.

    model: a local folder or a repository id on the Hugging Face hub.
    dtype: "auto" takes the checkpoint's, or float32 where the processor is slow in it.
    max_model_len: longest prompt plus output, in tokens; None takes the model's own limit.
    max_num_seqs: requests that run at once.
    max_num_batched_tokens: tokens computed in one step.
    block_size: tokens in one block of the KV cache.
    kv_cache_memory: bytes for the KV cache; None sizes it from what is free.
    max_image_pixels: larger images are refused before they are decoded.
    """

    model: str
    dtype: str = "auto"
    device: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 2048
    block_size: int = 16
    kv_cache_memory: int | None = None
    encoder_cache_memory: int = 256 * 2**20
    max_image_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size", "max_image_pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_model_len is not None and self.max_model_len < 2:
            raise ConfigError(f"max_model_len must be at least 2, got {self.max_model_len}")
