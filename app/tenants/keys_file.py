"""The file of API keys: TOML or YAML, a table for each key, called by its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..table_file import read_table
from .key_entry import KeyEntry, check_name, entry_from

_OTHERS = 0o077
_QUOTED = re.compile(r"`(\w+)`|^(\w+)")


def read_keys(path: Path) -> dict[str, KeyEntry]:
    """The keys by name. Raises ValueError, which names the path, the line where it can be told, and
    what is wrong."""
    given = read_table(path)
    if not given:
        raise ValueError(f"{path} holds no key; octavo keys new NAME prints one")
    keys: dict[str, KeyEntry] = {}
    names: dict[str, str] = {}
    for name, fields in given.items():
        try:
            keys[name] = _read_entry(name, fields)
        except ValueError as error:
            line = _line_of(path, str(name), str(error))
            raise ValueError(f"{path}{line}: {name}: {error}") from error
        digest = keys[name].sha256
        if digest in names:
            line = _line_of(path, name, "sha256")
            raise ValueError(f"{path}{line}: {name}: the key is that of {names[digest]}")
        names[digest] = name
    return keys


def is_open_to_others(path: Path) -> bool:
    """Whether other users of the machine may read or write it."""
    return bool(path.stat().st_mode & _OTHERS)


def _read_entry(name: Any, fields: Any) -> KeyEntry:
    check_name(str(name))
    if not isinstance(name, str) or not isinstance(fields, dict):
        raise ValueError('must be a table with the field sha256, and a name such as "alice"')
    return entry_from(fields)


def _line_of(path: Path, name: str, message: str) -> str:
    """Where an entry is, and in it the field that a message begins with or quotes; nothing where
    the file is written in another way."""
    quoted = rf"[\"']?{re.escape(name)}[\"']?"
    header = re.compile(rf"\s*(\[\s*{quoted}\s*\]|{quoted}\s*[:=])")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # another file by now
        return ""
    first = next((i for i, line in enumerate(lines) if header.match(line)), None)
    if first is None:
        return ""
    fields = "|".join(a or b for a, b in _QUOTED.findall(message))
    field = re.compile(rf"\s*[\"']?({fields})[\"']?\s*[:=]")
    another = re.compile(r"\s*\[|\S+\s*:\s*$")
    for i, line in enumerate(lines[first + 1 :], first + 1):
        if another.match(line):
            break
        if field.match(line):
            return f", line {i + 1}"
    return f", line {first + 1}"
