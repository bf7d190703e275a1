"""Recipes in YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..setting import ConfigError
from .recipe import Recipe, Rule

_ENDINGS = (".yaml", ".yml")
_KEYS = {"match", "method"}


def is_recipe_file(text: str) -> bool:
    """Whether a text names a file rather than methods."""
    return text.endswith(_ENDINGS)


def read_recipe(text: str) -> Recipe:
    """Of a method's name, of rules, or of a file of rules. Raises ConfigError for anything else."""
    return _read_file(Path(text).expanduser()) if is_recipe_file(text) else Recipe.of(text)


def _read_file(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
        _check_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        content: Any = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(content, list) or not content:
        raise ConfigError(f'{path} must be a list of rules such as {{match: "*", method: int4}}')
    return Recipe(tuple(_rule(path, number, entry) for number, entry in enumerate(content, 1)))


def _rule(path: Path, number: int, entry: Any) -> Rule:
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise ConfigError(f"{path}: rule {number} must have the keys match and method, no others")
    for key, value in entry.items():
        if not isinstance(value, str):
            raise ConfigError(f"{path}: {key} of rule {number} must be a text, got {value!r}")
    try:
        return Rule(entry["match"], entry["method"])
    except ConfigError as error:
        raise ConfigError(f"{path}: rule {number}: {error}") from error


def _check_keys(node: Any) -> None:
    """YAML's own rule, which its loader doesn't keep: of equal keys the last one would win. Raises
    ValueError."""
    entries = node.value if isinstance(node, yaml.SequenceNode) else []
    for entry in entries:
        keys = [key.value for key, _ in entry.value] if isinstance(entry, yaml.MappingNode) else []
        if len(set(keys)) < len(keys):
            raise ValueError(f"a rule has a key twice: {', '.join(keys)}")
