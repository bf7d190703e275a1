"""A checkpoint's file that can't be read: whether it is damaged, or nobody may."""

from __future__ import annotations

from pathlib import Path

from ..protocol.config import ConfigError


def unreadable(path: Path, error: Exception) -> ConfigError:
    """To be raised from the error of reading it."""
    if isinstance(error, PermissionError):
        return ConfigError(f"{path} can't be read: permission denied; change its permissions")
    if isinstance(error, OSError):
        return ConfigError(f"{path} can't be read: {error.strerror or error}")
    return ConfigError(f"{path} can't be read, it may be damaged: {error}")
