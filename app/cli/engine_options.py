"""The command line's options that are the engine's settings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import ImageColor

from ...core.protocol.config import ConfigError, EngineConfig
from ...core.protocol.setting import Setting, settings_of
from .command_parser import CommandParser
from .log_options import add_log_options


def add_engine_options(parser: CommandParser, serves: bool = False) -> None:
    """Those of every command with a model, and the log's; serves: whether requests wait for each
    other."""
    parser.add_config_option()
    commands = ("all", "serve") if serves else ("all",)
    for name, known in settings_of(EngineConfig).items():
        if known.commands in commands:
            _add_option(parser, name, known, serves)
    add_log_options(parser, serves)


def _add_option(parser: argparse.ArgumentParser, name: str, known: Setting, serves: bool) -> None:
    default = getattr(EngineConfig, name)
    if serves and known.served is not None:
        default = known.served
    flag = f"--{name.replace('_', '-')}"
    text = known.help.replace("%", "%%")
    if isinstance(default, bool):
        action = argparse.BooleanOptionalAction if default else "store_true"
        text += f" (default: {'yes' if default else 'no'})"
        parser.add_argument(flag, action=action, default=default, help=text)
        return
    if default is not None:
        text += f" (default: {show_value(known, default)})"
    parser.add_argument(
        flag,
        type=_parser_of(name, known),
        choices=known.choices,
        metavar=known.metavar or _METAVARS.get(known.unit),
        default=default,
        help=text,
    )


_METAVARS: dict[str | None, str] = {"bytes": "SIZE", "seconds": "SECONDS", "colour": "COLOUR"}


def _parser_of(name: str, known: Setting) -> Callable[[str], Any]:
    if known.unit == "bytes":
        return parse_bytes
    if known.unit == "colour":
        return _colour
    if known.unit == "seconds":
        return float
    (annotation,) = [f.type for f in fields(EngineConfig) if f.name == name]
    return int if str(annotation).startswith("int") else str


def show_value(known: Setting, value: Any) -> str:
    """A value as one would write it."""
    if known.unit == "bytes" and value is not None:
        return f"{value // 2**20}MiB" if value % 2**20 == 0 else str(value)
    if known.unit == "colour":
        return "#{:02x}{:02x}{:02x}".format(*value)
    if known.unit == "seconds":
        return f"{value:g} seconds"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_bytes(text: str) -> int:
    """A size such as 1073741824, 512MiB or 2G."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(iB|B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 512MiB or in bytes")
    factor: int = 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(match[1]) * factor


def _colour(text: str) -> tuple[int, int, int]:
    """A name or #rrggbb, as Pillow knows them."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        message = f"{text!r} is no colour; write it as white or #ffffff"
        raise argparse.ArgumentTypeError(message) from error
    return red, green, blue


def engine_config(options: argparse.Namespace) -> EngineConfig:
    """The settings that were parsed. Raises ConfigError."""
    names = {field.name for field in fields(EngineConfig)}
    config = EngineConfig(**{k: v for k, v in vars(options).items() if k in names})
    if config.trace is not None:
        _clear_file(Path(config.trace))
    return config


def _clear_file(path: Path) -> None:
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise ConfigError(f"--trace: {path} can't be written: {error.strerror}") from error
