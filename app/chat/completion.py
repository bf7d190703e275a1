"""What the tabulator key adds: commands, paths, names of sampling parameters."""

from __future__ import annotations

from glob import escape, glob
from pathlib import Path

from .commands import COMMANDS
from .sampling import NAMES

_TAKE_PATHS = ("/image", "/save")


def complete(line: str, word: str) -> list[str]:
    """What may stand in place of `word`, the last of a line."""
    first, _, rest = line.partition(" ")
    if line == word:
        return [f"/{name} " for name in COMMANDS if f"/{name}".startswith(word or " ")]
    if first in _TAKE_PATHS:
        return _paths(word)
    if first == "/set" and rest == word:
        return [f"{name} " for name in NAMES if name.startswith(word)]
    return []


def _paths(word: str) -> list[str]:
    """Those with spaces are left out: they need quotes, which a terminal adds to dropped files."""
    home = str(Path.home())
    whole = home + word[1:] if word.startswith("~/") else word
    found = sorted(path for path in glob(f"{escape(whole)}*") if " " not in path)
    shown = ("~" + path[len(home) :] if whole != word else path for path in found)
    ends = ("/" if Path(path).is_dir() else " " for path in found)
    return [path + end for path, end in zip(shown, ends, strict=True)]
