"""The folder of what can be made again, kept from one start to the next."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """That of one kind of thing, in the user's cache; it need not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "octavo" / name


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, in a folder that is made if need be. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        try:
            file.write(text)
        except BaseException:
            Path(file.name).unlink()
            raise
    os.replace(file.name, path)


def forget_oldest(folder: Path, most_kept: int) -> None:
    """Delete the files that were written first, but for so many. Raises OSError."""
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for path in files[: max(0, len(files) - most_kept)]:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
