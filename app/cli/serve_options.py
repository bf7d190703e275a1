"""The command line's options of `octavo serve`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .. import DEMO_MODEL
from .batch_options import add_batch_options
from .command_parser import CommandParser
from .engine_options import add_engine_options
from .intake_options import add_intake_options
from .listen_options import add_listen_options

_MAX_BODY_MIB = 64


def add_serve_options(parser: CommandParser, model_help: str) -> None:
    """All of them. model_help: what a model may be given as, for every command."""
    parser.add_argument(
        "model",
        nargs="?",
        default=DEMO_MODEL,
        help=f"{model_help}, or open_clip:MODEL:WEIGHTS (default: the demo model)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at; 0.0.0.0 is all of this machine's (default: 127.0.0.1)",
    )
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    parser.add_argument(
        "--served-model-name",
        help="the name that clients use (default: the model's, without its folder)",
    )
    parser.add_argument(
        "--max-body-mib",
        type=int,
        default=_MAX_BODY_MIB,
        help=f"of a request; more is refused with 413 (default: {_MAX_BODY_MIB})",
    )
    add_listen_options(parser)
    add_batch_options(parser)
    parser.add_argument(
        "--allowed-origins",
        nargs="+",
        default=[],
        type=_origin,
        metavar="ORIGIN",
        help="web pages that may use the API from a browser, such as https://example.com, or '*' "
        "for all (default: none)",
    )
    parser.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="TOML or YAML with the API keys that are answered, which octavo keys new prints "
        "(default: everybody is)",
    )
    # A key is what octavo demo --api-key takes.
    parser.require_whole("--api-keys")
    parser.add_argument(
        "--share-caches",
        action="store_true",
        help="let holders of different API keys find each other's beginnings of prompts and images "
        "in the caches; how fast an answer comes then tells what others asked (default: no)",
    )
    parser.add_argument(
        "--ui",
        action="store_true",
        help="also serve a page to try the model on, at /ui; it needs octavo[demo] (default: no)",
    )
    add_engine_options(parser, serves=True)
    add_intake_options(parser)


def _origin(text: str) -> str:
    """As browsers write it: a scheme, a host and perhaps a port."""
    if text != "*" and re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no origin; write it as https://example.com, without a path, or '*'"
        )
    return text
