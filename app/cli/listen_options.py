"""The command line's options for a server's connections."""

from __future__ import annotations

import argparse

_DRAIN_TIMEOUT_S = 10.0


def add_listen_options(parser: argparse.ArgumentParser) -> None:
    """Those of every server."""
    parser.add_argument(
        "--drain-timeout",
        type=_seconds,
        default=_DRAIN_TIMEOUT_S,
        metavar="SECONDS",
        help="what open requests have to end when the server is told to; then they are cut "
        f"(default: {_DRAIN_TIMEOUT_S:g} seconds)",
    )
    parser.add_argument(
        "--max-connections",
        type=_count,
        metavar="N",
        help="connections that may be open; others wait (default: what the limit on open files "
        "allows, up to 4096)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)
