"""Shell completion: a script that a shell reads once, so that pressing Tab runs no Python."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab

#: Where each shell looks for the script by itself.
_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/octavo",
    "zsh": "a folder of $fpath, as _octavo",
    "fish": "~/.config/fish/completions/octavo.fish",
}
#: Names of arguments that are files or folders, beside those that are parsed to a Path.
_FILES = {"model", "mmproj", "image", "base", "new", "trace", "allowed_local_media_path"}


def print_completion(parser: argparse.ArgumentParser, shell: str) -> None:
    """Print the script for "bash", "zsh" or "fish"; on a terminal, also where it belongs."""
    for action in _actions(parser):
        if not action.choices and (action.type is Path or action.dest in _FILES):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell))
    if sys.stdout.isatty():
        print(f"octavo: write this into {_PLACES[shell]}", file=sys.stderr)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
