"""The engine's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .media_limits import MediaLimits
from .quantization.recipe_file import read_recipe
from .setting import ConfigError, check_settings, nearest, setting, settings_of

DTYPES = ("auto", "float32", "bfloat16", "float16")
KV_CACHE_DTYPES = ("auto", "float32", "bfloat16", "int8", "fp8", "fp8_e4m3")

#: For `mmproj`: the language model alone.
NO_MMPROJ = "none"

__all__ = ["DTYPES", "KV_CACHE_DTYPES", "NO_MMPROJ", "ConfigError", "EngineConfig"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Everything an operator can set of an engine, each field with its meaning; the command line's
    options, the keys of its `--config` files, the variables of its environment and
    docs/settings.md are made from them. Raises ConfigError for a value that can't work.

    model: a local folder, a GGUF file or a repository id on the Hugging Face hub, with a colon and
        the name or the quantisation of one of its GGUF files after it, as in owner/model:Q4_K_M.
    """

    model: str
    model_impl: str = setting(
        "auto",
        "a plugin's model (octavo), transformers' own deployed automatically (transformers), or "
        "the latter where there is no plugin",
        choices=("auto", "octavo", "transformers"),
    )
    mmproj: str | None = setting(
        None,
        "the vision projector of a GGUF file, mmproj-….gguf, or its name in the model's folder; "
        "none for the language model alone (default: the only one beside the model)",
        metavar="FILE",
    )
    dtype: str = setting(
        "auto",
        "of weights and activations; auto takes the checkpoint's, or float32 where the processor "
        "is slow in it",
        choices=DTYPES,
    )
    kv_cache_dtype: str = setting(
        "auto",
        "of keys and values; auto takes that of activations, or bfloat16 on a CPU that computes a "
        "bfloat16 checkpoint in float32; int8 and fp8 (fp8_e4m3) take about half of bfloat16's "
        "memory, with a scale for each token and head, and int8 is the more precise",
        choices=KV_CACHE_DTYPES,
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, …")
    quantization: str | None = setting(
        None,
        "a method that makes the language model's weights smaller as they are loaded: int8, int4, "
        "or a plugin's; or one for each layer, by rules such as "
        "'layers.0.*=none,*.down_proj=int8,*=int4', or in a file, recipe.yaml",
        metavar="METHOD",
    )
    max_model_len: int | None = setting(
        None, "longest prompt plus answer, in tokens (default: the model's own limit)", at_least=2
    )
    max_num_seqs: int = setting(64, "requests that run at once", at_least=1)
    max_num_batched_tokens: int | None = setting(
        None,
        "tokens computed in one step (default: 2048, or as many as the longest prompt where "
        "prompts must be computed whole)",
        at_least=1,
    )
    block_size: int = setting(
        16, "tokens in one block of the KV cache", at_least=1, commands="none"
    )
    enable_prefix_caching: bool = setting(
        True, "reuse the keys and values of prompts that begin alike"
    )
    kv_cache_memory: int | None = setting(
        None,
        "for the KV cache, such as 512MiB (default: half of what is free, or what all requests "
        "could fill)",
        unit="bytes",
        at_least=1,
    )
    encoder_cache_memory: int = setting(
        256 * 2**20,
        "for the features of images that are in use or may be again",
        unit="bytes",
        at_least=0,
    )
    max_image_tokens: int | None = setting(
        None,
        "what an image may take of a prompt; larger ones are shrunk or cut into fewer tiles, and "
        "refused by models that can't (default: what the model gives it)",
        at_least=1,
    )
    max_image_pixels: int = setting(
        MediaLimits.max_pixels,
        "width times height; larger images are refused before they are decoded",
        at_least=1,
    )
    max_image_bytes: int = setting(
        MediaLimits.max_bytes, "of an image's file", unit="bytes", at_least=1
    )
    max_images_per_prompt: int = setting(64, "more images in one request are refused", at_least=1)
    image_background: tuple[int, int, int] = setting(
        (255, 255, 255),
        "what shows through transparent images, such as white, black or #808080",
        unit="colour",
    )
    encoder_cache: str | None = setting(
        None,
        "a store for features of images, such as redis://host:6379/0, that processes share and "
        "that outlives them",
        metavar="URL",
    )
    encoder_cache_ttl: float = setting(
        7 * 24 * 3600.0, "until the store forgets an image", unit="seconds"
    )
    encoder_cache_max_item: int = setting(
        64 * 2**20,
        "larger features of an image are not kept in the store",
        unit="bytes",
        at_least=1,
    )
    encoder_cache_compression: bool = setting(
        False, "compress what is written to the store with zstd (needs the extra octavo[zstd])"
    )
    response_template: str = setting(
        "auto",
        "how the model writes thoughts and calls of functions, by which answers are taken apart: "
        "none, a plugin's by name (octavo plugins list), or a JSON file in transformers' form; "
        "auto takes the checkpoint's own, or else the plugin's whose marks its chat template has",
        metavar="TEMPLATE",
        commands="serve",
    )
    scheduling_policy: str = setting(
        "fcfs",
        "first come first served, or by the requests' own priority; clients share by weight",
        choices=("fcfs", "priority"),
        commands="serve",
    )
    max_num_queued_reqs: int = setting(
        1024,
        "requests that may wait beyond max_num_seqs; more are refused with 503",
        at_least=0,
        commands="serve",
    )
    queue_timeout: float | None = setting(
        None,
        "how long a request may wait, unless it says itself (default: forever)",
        unit="seconds",
        commands="serve",
    )
    request_timeout: float | None = setting(
        None,
        "how long a request may take, unless it says itself (default: forever)",
        unit="seconds",
        commands="serve",
    )
    engine_stall_timeout: float = setting(
        30.0,
        "a process that runs a model or reads images, and says and computes nothing for so long, "
        "is killed and started again; so is one whose step takes 20 times as long",
        unit="seconds",
        commands="serve",
    )
    # Served, as vLLM does it: of all tokens of a vocabulary, one request could ask for gigabytes.
    max_logprobs: int = setting(
        -1,
        "likeliest tokens whose log-probabilities a request may ask for, at each position; -1 is "
        "the whole vocabulary",
        at_least=-1,
        commands="serve",
        served=20,
    )
    structured_outputs_backend: str = setting(
        "llguidance",
        "the plugin that keeps answers to a JSON schema, a regular expression or a grammar",
        metavar="NAME",
    )
    batch_invariant: bool = setting(
        False,
        "log-probabilities that don't depend, to the bit, on what else runs or is cached; slower",
    )
    trace: str | None = setting(
        None,
        "write what each step did to this file, for Perfetto or chrome://tracing",
        metavar="FILE",
    )

    @property
    def media_limits(self) -> MediaLimits:
        """What an image may be."""
        return MediaLimits(max_pixels=self.max_image_pixels, max_bytes=self.max_image_bytes)

    def __post_init__(self) -> None:
        # Between processes, as JSON, tuples become lists.
        object.__setattr__(self, "image_background", tuple(self.image_background))
        check_settings(self)
        if self.kv_cache_dtype == "fp8_e4m3":  # another name, as in vLLM
            object.__setattr__(self, "kv_cache_dtype", "fp8")
        if self.quantization is not None:  # the rules themselves, whatever becomes of their file
            object.__setattr__(self, "quantization", _recipe(self.quantization))

    @classmethod
    def of(cls, model: str, settings: Mapping[str, Any]) -> EngineConfig:
        """With fields by name. Raises ConfigError, which names the nearest for one that is no
        field."""
        known = settings_of(cls)
        for name in settings:
            if name not in known:
                raise ConfigError(f"{name} is no setting{nearest(name, known)}")
        return cls(model=model, **settings)


def _recipe(text: str) -> str:
    try:
        return str(read_recipe(text))
    except ConfigError as error:
        raise ConfigError(f"quantization: {error}") from error
