"""Whether results can be written where they are wanted, told before minutes of measuring."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.protocol.config import ConfigError


def check_output_file(option: str, path: Path) -> None:
    """Raise ConfigError unless a file can be written there, in a folder that may be made."""
    if path.is_dir():
        raise ConfigError(f"{option}: {path} is a folder; name a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"{option}: {path} can't be written: change its permissions")
    if not path.exists():
        check_output_folder(option, path.parent)


def check_output_folder(option: str, path: Path) -> None:
    """Raise ConfigError unless it is a folder that can be written, or can be made."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ConfigError(f"{option}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{option}: {there} can't be written: change its permissions")
