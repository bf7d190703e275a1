"""Where settings come from beside the command line: a file, and variables of the environment."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ...core.protocol.config import ConfigError, EngineConfig
from ...core.protocol.setting import nearest, settings_of
from .log_options import LOG_SETTINGS

_PREFIX = "OCTAVO_"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def settings_from_file(
    actions: Mapping[str, argparse.Action], given: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """A file's values, as the command line would have parsed them. actions: a command's options,
    by name. Raises ConfigError."""
    for name in given:
        if name in actions:
            continue
        if name in (*settings_of(EngineConfig), *LOG_SETTINGS):
            raise ConfigError(f"{source}: {name} is a setting of octavo serve")
        hint = nearest(name, actions)
        raise ConfigError(f"{source}: {name} is no setting of this command{hint}")
    return {
        name: _value(actions[name], value, f"{source}: {name}") for name, value in given.items()
    }


def settings_from_environment(
    actions: Mapping[str, argparse.Action], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The values of OCTAVO_ and a setting's name. Those of other commands are left alone: an
    environment is shared; so are other programs' names, unless one is all but a setting's, which
    raises ConfigError."""
    names = ("model", *settings_of(EngineConfig), *LOG_SETTINGS)
    known = {variable_of(name): name for name in names}
    settings: dict[str, Any] = {}
    for variable, text in environment.items():
        name = known.get(variable)
        if name is None:
            _check_no_slip(variable, known)
        elif name in actions:
            action = actions[name]
            value = _as_flag(variable, text) if action.nargs == 0 else text
            settings[name] = _value(action, value, variable)
    return settings


def variable_of(name: str) -> str:
    """The environment's name of a setting."""
    return _PREFIX + name.upper()


def _check_no_slip(variable: str, known: Iterable[str]) -> None:
    if not variable.startswith(_PREFIX):
        return
    found = get_close_matches(variable, list(known), n=1, cutoff=0.9)
    if found:
        raise ConfigError(f"{variable} is no setting; did you mean {found[0]}?")


def _as_flag(variable: str, text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ConfigError(f"{variable} must be true or false, got {text!r}")
    return text.lower() in _TRUE


def _value(action: argparse.Action, value: Any, name: str) -> Any:
    """As the option's own parser makes it of a word."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, got {value!r}")
        return value
    if action.nargs == "+":
        if not isinstance(value, list):
            raise ConfigError(f"{name} must be a list, got {value!r}")
        return [_word(action, item, name) for item in value]
    return _word(action, value, name)


def _word(action: argparse.Action, value: Any, name: str) -> Any:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a text or a number, got {value!r}")
    parse = action.type if callable(action.type) else str
    try:
        parsed = parse(str(value))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{name}: {error}") from error
    except ValueError as error:
        kind = "a whole number" if parse is int else "a number"
        raise ConfigError(f"{name} must be {kind}, got {value!r}") from error
    if action.choices is not None and parsed not in action.choices:
        raise ConfigError(f"{name} must be one of {', '.join(action.choices)}, got {value!r}")
    return parsed
