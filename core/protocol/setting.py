"""A field of a config that operators set: what the command line, files and documents say of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

Value = TypeVar("Value")

_KEY = "setting"
_KINDS = {"bool": "True or False", "int": "a whole number", "float": "a number", "str": "a text"}
#: Of a number of seconds; what is longer is a mistake, or None.
_LONGEST_S = 1e9


class ConfigError(ValueError):
    """A setting that can't work, with what to do about it."""


@dataclass(frozen=True)
class Setting:
    """help: for people, in half a sentence. unit: what the number counts, if not things; seconds
    are above 0 and finite. choices: all values. at_least: the least of a number. commands: the
    ones that take it: "all" with a model, "serve", or "none", where only Python sets it. served:
    a server's default where it differs. metavar: what stands for the value in a usage text.
    """

    help: str
    unit: Literal["bytes", "seconds", "colour"] | None = None
    choices: tuple[str, ...] | None = None
    at_least: int | None = None
    commands: Literal["all", "serve", "none"] = "all"
    served: Any = None
    metavar: str | None = None

    def check(self, name: str, value: Any, kind: str) -> None:
        """Raises ConfigError for a value that can't work. kind: the field's type, as it is
        written, such as "int | None"."""
        first, _, optional = kind.partition(" | ")
        if value is None and optional:
            return
        if first in _KINDS and not _is(first, value):
            raise ConfigError(f"{name} must be {_KINDS[first]}, got {value!r}")
        if self.choices is not None and value not in self.choices:
            raise ConfigError(f"{name} must be one of {', '.join(self.choices)}, got {value!r}")
        if self.at_least is not None and value < self.at_least:
            raise ConfigError(f"{name} must be at least {self.at_least}, got {value}")
        if self.unit == "seconds" and not 0 < value < _LONGEST_S:
            raise ConfigError(f"{name} must be above 0 seconds and finite, got {value}")
        if self.unit == "colour" and not _is_colour(value):
            raise ConfigError(f"{name} must be three numbers from 0 to 255, got {value}")


def setting(default: Value, help: str, **more: Any) -> Value:
    """A dataclass's field with a Setting."""
    made: Value = field(default=default, metadata={_KEY: Setting(help, **more)})
    return made


def check_settings(config: Any) -> None:
    """Each setting of a config's instance. Raises ConfigError."""
    kinds = {f.name: str(f.type) for f in fields(config)}
    for name, known in settings_of(type(config)).items():
        known.check(name, getattr(config, name), kinds[name])


def nearest(name: str, names: Iterable[str]) -> str:
    """For the end of an error message: the name that was meant, or nothing."""
    found = get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def settings_of(config: type[Any]) -> dict[str, Setting]:
    """By the names of their fields, in order."""
    return {f.name: f.metadata[_KEY] for f in fields(config) if _KEY in f.metadata}


def _is(kind: str, value: Any) -> bool:
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    return isinstance(value, {"int": Integral, "float": Real, "str": str}[kind])


def _is_colour(value: Sequence[Any]) -> bool:
    return len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value)
