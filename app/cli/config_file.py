"""Settings from a file: TOML or YAML, told by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.protocol.config import ConfigError
from ..table_file import read_table


def read_config_file(path: Path) -> dict[str, Any]:
    """The file's keys and values; a key's hyphens are underscores. Raises ConfigError for a file
    that can't be read, or holds anything but one table, or a key twice."""
    try:
        given = read_table(path)
    except ValueError as error:
        raise ConfigError(f"--config: {error}") from error
    settings: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).replace("-", "_")
        if name in settings:
            raise ConfigError(f"--config: {path}: {name} is there twice")
        settings[name] = value
    return settings
