"""What can be compared: an interpreter with the package, or a source tree of it."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...core.protocol.config import ConfigError
from ..machine import git_revision


@dataclass(frozen=True)
class Side:
    """python: the interpreter; tree: the sources that it takes, None for those it has installed."""

    label: str
    python: str
    tree: Path | None

    @property
    def revision(self) -> str | None:
        """The commit of the tree."""
        return git_revision(self.tree) if self.tree is not None else None


def find_side(text: str) -> Side:
    """A virtual environment, an interpreter, a source tree, or TREE@PYTHON, where PYTHON may be
    an environment, too. A tree alone is run by this interpreter.

    Raises ConfigError if it is none of these.
    """
    place, at, runner = text.rpartition("@")
    if at and not Path(text).exists():
        python = _interpreter(Path(runner))
        if python is None:
            raise ConfigError(f"{text}: {runner} is neither an interpreter nor an environment")
        return Side(text, python, _tree(place, text))
    python = _interpreter(Path(text))
    if python is not None:
        return Side(text, python, None)
    return Side(text, sys.executable, _tree(text, text))


def link_tree(side: Side, folder: Path) -> dict[str, str]:
    """The environment of a process that is to import the side's tree, through a link that is
    made in `folder`, as the tree's own folder may have any name."""
    environment = dict(os.environ)
    # As the `octavo` command sets it, whatever the side's version does.
    environment.setdefault("GOMP_SPINCOUNT", "10000")
    environment.pop("PYTHONPATH", None)
    if side.tree is not None:
        place = Path(tempfile.mkdtemp(dir=folder))
        (place / "octavo").symlink_to(side.tree)
        environment["PYTHONPATH"] = str(place)
    return environment


def _interpreter(path: Path) -> str | None:
    """Not resolved, as an environment's interpreter is a link to another."""
    if (path / "pyvenv.cfg").is_file():
        path = path / "bin" / "python"
    if path.is_file() and os.access(path, os.X_OK):
        return str(path.absolute())
    return None


def _tree(path: str, text: str) -> Path:
    tree = Path(path).resolve()
    if not (tree / "core" / "engine" / "engine_core.py").is_file():
        raise ConfigError(
            f"{text} is no environment, no interpreter and no source tree of octavo; make one of a "
            "revision with: git worktree add --detach FOLDER REVISION"
        )
    return tree
