"""The command line of `octavo serve`, read as it reads it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from octavo.app.cli.cli import build_parser
from octavo.app.cli.command_parser import CommandParser


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """A command's options: `octavo`, `serve` and so on. Ends with SystemExit, or raises
    ConfigError, as the command does."""
    name, *arguments = words
    assert name.rpartition("/")[2] == "octavo"
    return build_parser()[0].parse_args(arguments)


def serve_options() -> set[str]:
    """Such as --port."""
    serve = build_parser()[1].choices["serve"]
    assert isinstance(serve, CommandParser)
    return set(serve._option_string_actions)
