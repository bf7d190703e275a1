"""The `octavo` command."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from .. import __version__
from ..core.contracts import load_object
from ..core.engine.config import DTYPES, ConfigError, EngineConfig
from ..core.engine.request_error import RequestError
from ..core.engine.request_queue import POLICIES
from ..core.openmp import limit_spinning
from ..core.registry import UnsupportedModelError, get_registry
from . import DEMO_MODEL

DEFAULT_PROMPT = "What is in this picture?"
_MAX_BODY_MIB = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    limit_spinning()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        status: int = options.run(options)
    except (ConfigError, UnsupportedModelError, RequestError) as error:
        print(f"octavo: {error}", file=sys.stderr)
        return 2
    return status


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="octavo", description="Serve vision-language models.")
    parser.add_argument("--version", action="version", version=f"octavo {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="serve a model over an OpenAI-style HTTP API"))
    _add_caption(commands.add_parser("caption", help="caption pictures into a JSONL file"))
    plugins = commands.add_parser("plugins", help="what is installed")
    actions = plugins.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="print every plugin and what it brings").set_defaults(
        run=_list_plugins
    )
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", default=DEMO_MODEL, help="folder or hub id (default: the demo model)"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name", help="the name that clients use")
    parser.add_argument("--max-body-mib", type=int, default=_MAX_BODY_MIB)
    _add_engine_options(parser)
    _add_queue_options(parser)
    parser.set_defaults(run=_serve)


def _add_caption(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", type=Path, metavar="DIR_OR_FILE")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSONL file")
    parser.add_argument("--model", default=DEMO_MODEL, help="folder or hub id")
    parser.add_argument("--prompt", default=DEFAULT_PROMPT)
    parser.add_argument("--max-tokens", type=int, default=64)
    _add_engine_options(parser)
    parser.set_defaults(run=_caption)


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
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
        default=EngineConfig.max_num_batched_tokens,
        help="tokens computed in one step",
    )
    parser.add_argument(
        "--enable-prefix-caching",
        action=argparse.BooleanOptionalAction,
        default=EngineConfig.enable_prefix_caching,
        help="reuse what was computed for prompts that begin alike",
    )
    parser.add_argument(
        "--kv-cache-memory",
        type=_bytes,
        metavar="SIZE",
        help="such as 512MiB; default: half of what is free, or what all requests could fill",
    )
    parser.add_argument(
        "--encoder-cache-memory",
        type=_bytes,
        metavar="SIZE",
        default=EngineConfig.encoder_cache_memory,
        help="for the features of images",
    )
    parser.add_argument(
        "--max-image-tokens", type=int, help="what an image may take of a prompt (default: any)"
    )
    parser.add_argument(
        "--batch-invariant",
        action="store_true",
        help="log-probabilities that don't depend on what else runs; slower",
    )
    parser.add_argument(
        "--trace", metavar="FILE", help="write what each step did, for Perfetto or chrome://tracing"
    )


def _add_queue_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scheduling-policy",
        choices=POLICIES,
        default=EngineConfig.scheduling_policy,
        help="first come first served, or by the requests' priority",
    )
    parser.add_argument(
        "--max-num-queued-reqs",
        type=int,
        help="requests that may wait; more are refused with 503 (default: any number)",
    )
    parser.add_argument(
        "--queue-timeout", type=float, metavar="SECONDS", help="how long a request may wait"
    )
    parser.add_argument(
        "--request-timeout", type=float, metavar="SECONDS", help="how long a request may take"
    )


def _bytes(text: str) -> int:
    """A size such as 1073741824, 512MiB or 2G."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(iB|B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 512MiB or in bytes")
    factor: int = 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(match[1]) * factor


def _engine_config(options: argparse.Namespace) -> EngineConfig:
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


def _serve(options: argparse.Namespace) -> int:
    config = _engine_config(options)
    name = options.served_model_name or _default_name(options.model)
    # Loaded here, so that the other commands need not wait for torch.
    serve = load_object("octavo.app.http.server:serve")
    serve(config, name, options.host, options.port, options.max_body_mib * 2**20)
    return 0


def _default_name(model: str) -> str:
    if model == DEMO_MODEL:
        return "octavo-demo"
    return Path(model).name if os.path.isdir(model) else model


def _caption(options: argparse.Namespace) -> int:
    llm_class = load_object("octavo.app.llm:LLM")
    write_captions = load_object("octavo.app.captioning:write_captions")
    llm = llm_class(**asdict(_engine_config(options)))
    failed = write_captions(
        llm, options.sources, options.output, options.prompt, options.max_tokens
    )
    if failed:
        print(f"octavo: {failed} files have an error instead of a caption", file=sys.stderr)
    return 1 if failed else 0


def _list_plugins(options: argparse.Namespace) -> int:
    registry = get_registry()
    for plugin in registry.plugins:
        print(f"{plugin.name} ({plugin.source})")
        if plugin.error:
            print(f"  refused: {plugin.error}")
        for (kind, name), owner in registry.owners.items():
            if owner == plugin.name:
                spec = getattr(registry, kind)[name]
                served = getattr(spec, "architectures", ()) or getattr(spec, "model_types", ())
                print(f"  {kind[:-1]} {name}" + (f": {', '.join(served)}" if served else ""))
    return 0
