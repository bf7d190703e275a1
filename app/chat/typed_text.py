"""What a person typed or dropped: a command, paths of pictures, or a question."""

from __future__ import annotations

import re
import shlex
from io import StringIO

from .picture import path_of

_COMMAND = re.compile(r"/([A-Za-z][\w-]*)(?:\s+(.*))?", re.DOTALL)
#: How the path of a dropped file begins: terminals write it absolute, mostly in quotes.
_DROPPED = ("/", "~/", "file:///", "'/", '"/', "'file:///", '"file:///')


def read_command(text: str) -> tuple[str, str] | None:
    """A command's name and the rest, if it is one. A space before the / makes it a question."""
    match = _COMMAND.fullmatch(text.rstrip())
    return None if match is None else (match[1], (match[2] or "").strip())


def split_paths(argument: str) -> list[str]:
    """Paths as shells and file managers write them, in quotes or with backslashes; one with spaces
    may be written as it is if it is alone and there."""
    if not argument or _is_file(argument):
        return [argument] if argument else []
    try:
        return shlex.split(argument)
    except ValueError:  # an apostrophe
        return argument.split()


def split_dropped(text: str) -> tuple[list[str], str]:
    """The paths of existing files that a question begins with, and the rest."""
    paths = []
    while text.startswith(_DROPPED):
        source = StringIO(text)
        words = shlex.shlex(source, posix=True)
        words.whitespace_split, words.commenters = True, ""
        try:
            word = words.get_token()
        except ValueError:  # an apostrophe
            break
        if not word or not _is_file(word):
            break
        paths.append(word)
        text = source.read().lstrip()
    return paths, text


def _is_file(name: str) -> bool:
    try:
        return path_of(name).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null character
        return False
