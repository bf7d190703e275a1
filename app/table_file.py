"""A table from a file: TOML or YAML, told by its name."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml


def read_table(path: Path) -> dict[Any, Any]:
    """Its keys and values. Raises ValueError, which begins with the path, for a file that can't be
    read, or holds anything but one table, or a key of a table twice."""
    if path.suffix not in _READERS:
        raise ValueError(f"{path} must end in .toml, .yaml or .yml")
    try:
        return _READERS[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_yaml(text: str) -> dict[Any, Any]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("must hold keys and values, such as max_num_seqs: 8")
    _check_keys(root)
    loaded: dict[Any, Any] = yaml.safe_load(text)
    return loaded


def _check_keys(table: yaml.MappingNode) -> None:
    """YAML's own rule, which its loader doesn't keep: the last one would win."""
    keys: set[str] = set()
    for key, value in table.value:
        if key.value in keys:
            raise ValueError(f"{key.value} is there twice (at line {key.start_mark.line + 1})")
        keys.add(key.value)
        if isinstance(value, yaml.MappingNode):
            _check_keys(value)


_READERS: dict[str, Callable[[str], dict[Any, Any]]] = {
    ".toml": tomllib.loads,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
