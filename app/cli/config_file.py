"""Settings from a file: TOML or YAML, told by its name."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ...core.protocol.config import ConfigError


def read_config_file(path: Path) -> dict[str, Any]:
    """The file's keys and values; a key's hyphens are underscores. Raises ConfigError for a file
    that can't be read, or holds anything but one table, or a key twice."""
    if path.suffix not in _READERS:
        raise ConfigError(f"--config: {path} must end in .toml, .yaml or .yml")
    try:
        given = _READERS[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config: {path} can't be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"--config: {path}: {error}") from error
    settings: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).replace("-", "_")
        if name in settings:
            raise ConfigError(f"--config: {path}: {name} is there twice")
        settings[name] = value
    return settings


def _read_yaml(text: str) -> dict[Any, Any]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("must hold keys and values, such as max_num_seqs: 8")
    keys = [key.value for key, _ in root.value]
    for key in keys:
        # YAML's own rule, which its loader doesn't keep: the last one would win.
        if keys.count(key) > 1:
            raise ValueError(f"{key} is there twice")
    loaded: dict[Any, Any] = yaml.safe_load(text)
    return loaded


_READERS: dict[str, Callable[[str], dict[Any, Any]]] = {
    ".toml": tomllib.loads,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
