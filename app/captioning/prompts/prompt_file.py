"""Prompts from a file: TOML, YAML or JSON, told by its name."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ....core.protocol.request_error import RequestError
from ..picture import printable


def read_prompt_file(path: Path) -> dict[str, Any]:
    """The file's keys and values. Raises RequestError for one that can't be read, that holds
    anything but a table, or a key twice."""
    shown = printable(str(path))
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise RequestError(f"--prompts: {shown} must end in .toml, .yaml, .yml or .json")
    try:
        given = read(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RequestError(f"--prompts: {shown} can't be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise RequestError(f"--prompts: {shown}: {error}") from error
    if not isinstance(given, dict):
        raise RequestError(f"--prompts: {shown} must be a table with prompts in it")
    return given


def read_schema(path: Path) -> dict[str, Any]:
    """A JSON Schema. Raises RequestError for a file that can't be read, or holds none."""
    shown = printable(str(path))
    try:
        given = _READERS[".json"](path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RequestError(f"--schema: {shown} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"--schema: {shown}: {error}") from error
    if not isinstance(given, dict):
        raise RequestError(f"--schema: {shown} must hold a JSON Schema, which is an object")
    return given


class _Loader(yaml.SafeLoader):
    """Keeps YAML's rule that the keys of a mapping differ: its base lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ValueError."""
        _unique([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is there twice")
        found[key] = value
    return found


_READERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": lambda text: yaml.load(text, Loader=_Loader),
    ".yml": lambda text: yaml.load(text, Loader=_Loader),
    ".json": lambda text: json.loads(text, object_pairs_hook=_unique),
}
