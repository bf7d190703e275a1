"""The command line's options that are the engine's settings."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import fields
from pathlib import Path

from PIL import ImageColor

from ...core.protocol.config import (
    DTYPES,
    KV_CACHE_DTYPES,
    MODEL_IMPLS,
    SCHEDULING_POLICIES,
    SERVED_LOGPROBS,
    ConfigError,
    EngineConfig,
)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Those that every command with a model has."""
    parser.add_argument(
        "--model-impl",
        choices=MODEL_IMPLS,
        default=EngineConfig.model_impl,
        help="a plugin's model, transformers' own deployed automatically, or what there is",
    )
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    parser.add_argument(
        "--quantization", metavar="METHOD", help="make the language model smaller: int8, int4, …"
    )
    parser.add_argument(
        "--kv-cache-dtype",
        choices=KV_CACHE_DTYPES,
        default=EngineConfig.kv_cache_dtype,
        help="of keys and values (default: that of activations; bfloat16 on a CPU that computes "
        "a bfloat16 checkpoint in float32)",
    )
    parser.add_argument("--max-model-len", type=int, help="prompt and answer, in tokens")
    parser.add_argument(
        "--max-num-seqs",
        type=int,
        default=EngineConfig.max_num_seqs,
        help="requests that run at once",
    )
    parser.add_argument(
        "--max-num-batched-tokens",
        type=int,
        help="tokens computed in one step (default: 2048, or more where prompts are not cut)",
    )
    parser.add_argument(
        "--enable-prefix-caching",
        action=argparse.BooleanOptionalAction,
        default=EngineConfig.enable_prefix_caching,
        help="reuse what was computed for prompts that begin alike",
    )
    parser.add_argument(
        "--kv-cache-memory",
        type=parse_bytes,
        metavar="SIZE",
        help="such as 512MiB; default: half of what is free, or what all requests could fill",
    )
    parser.add_argument(
        "--encoder-cache-memory",
        type=parse_bytes,
        metavar="SIZE",
        default=EngineConfig.encoder_cache_memory,
        help="for the features of images",
    )
    parser.add_argument(
        "--max-image-tokens", type=int, help="what an image may take of a prompt (default: any)"
    )
    _add_image_options(parser)
    _add_store_options(parser)
    parser.add_argument(
        "--batch-invariant",
        action="store_true",
        help="log-probabilities that don't depend on what else runs; slower",
    )
    parser.add_argument(
        "--trace", metavar="FILE", help="write what each step did, for Perfetto or chrome://tracing"
    )


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-image-pixels",
        type=int,
        default=EngineConfig.max_image_pixels,
        help="width times height; larger images are refused before they are decoded",
    )
    parser.add_argument(
        "--max-image-bytes",
        type=parse_bytes,
        metavar="SIZE",
        default=EngineConfig.max_image_bytes,
        help="of an image's file",
    )
    parser.add_argument(
        "--max-images-per-prompt", type=int, default=EngineConfig.max_images_per_prompt
    )
    parser.add_argument(
        "--image-background",
        type=_colour,
        metavar="COLOUR",
        default=EngineConfig.image_background,
        help="what shows through transparent images, such as white, black or #808080",
    )


def _add_store_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder-cache",
        metavar="URL",
        default=os.environ.get("OCTAVO_ENCODER_CACHE"),
        help="a store for features of images, such as redis://host:6379/0, that processes share "
        "(default: OCTAVO_ENCODER_CACHE in the environment)",
    )
    parser.add_argument(
        "--encoder-cache-ttl",
        type=float,
        metavar="SECONDS",
        default=EngineConfig.encoder_cache_ttl,
        help="how long it keeps an image",
    )
    parser.add_argument(
        "--encoder-cache-max-item",
        type=parse_bytes,
        metavar="SIZE",
        default=EngineConfig.encoder_cache_max_item,
        help="larger features of an image are not kept in it",
    )
    parser.add_argument(
        "--encoder-cache-compression",
        action="store_true",
        help="compress what is written to it (needs the extra octavo[zstd])",
    )


def add_queue_options(parser: argparse.ArgumentParser) -> None:
    """Those of a server, where requests wait for each other."""
    parser.add_argument(
        "--scheduling-policy",
        choices=SCHEDULING_POLICIES,
        default=EngineConfig.scheduling_policy,
        help="first come first served, or by the requests' priority; clients take turns",
    )
    parser.add_argument(
        "--max-num-queued-reqs",
        type=int,
        default=EngineConfig.max_num_queued_reqs,
        help="requests that may wait; more are refused with 503",
    )
    parser.add_argument(
        "--max-logprobs",
        type=int,
        default=SERVED_LOGPROBS,
        help="likeliest tokens that a request may ask for at each position; -1 is all "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--queue-timeout", type=float, metavar="SECONDS", help="how long a request may wait"
    )
    parser.add_argument(
        "--request-timeout", type=float, metavar="SECONDS", help="how long a request may take"
    )
    parser.add_argument(
        "--engine-stall-timeout",
        type=float,
        metavar="SECONDS",
        default=EngineConfig.engine_stall_timeout,
        help="an engine, or a process that reads images, that says and computes nothing for so "
        "long is killed and started again; so is one whose step takes 20 times as long",
    )


def parse_bytes(text: str) -> int:
    """A size such as 1073741824, 512MiB or 2G."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(iB|B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 512MiB or in bytes")
    factor: int = 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(match[1]) * factor


def _colour(text: str) -> tuple[int, int, int]:
    """A name or #rrggbb, as Pillow knows them."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        message = f"{text!r} is no colour; write it as white or #ffffff"
        raise argparse.ArgumentTypeError(message) from error
    return red, green, blue


def engine_config(options: argparse.Namespace) -> EngineConfig:
    """The settings that were parsed. Raises ConfigError."""
    names = {field.name for field in fields(EngineConfig)}
    config = EngineConfig(**{k: v for k, v in vars(options).items() if k in names})
    if config.trace is not None:
        _clear_file(Path(config.trace))
    return config


def _clear_file(path: Path) -> None:
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise ConfigError(f"--trace: {path} can't be written: {error.strerror}") from error
