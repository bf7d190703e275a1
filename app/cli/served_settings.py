"""The settings that `octavo serve` would run with, as the doctor looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...core.protocol.config import ConfigError, EngineConfig
from ..doctor.encoder_store import look_at_store
from ..doctor.finding import Remark
from .command_parser import CommandParser
from .engine_options import engine_config
from .intake_options import intake_config
from .serve_options import add_serve_options


@dataclass(frozen=True)
class _Settings:
    config: EngineConfig
    changed: tuple[str, ...]


class ServedSettings:
    """Those of a file, if there is one, and of the environment; encoder_cache goes before both."""

    def __init__(self, config_file: Path | None, encoder_cache: str | None) -> None:
        self._words = [] if config_file is None else ["--config", str(config_file)]
        self._words += [] if encoder_cache is None else ["--encoder-cache", encoder_cache]

    def look(self) -> Iterator[Remark]:
        """Whether they can work, and the names of those that are set."""
        try:
            changed = self._settings.changed
        except ConfigError as error:
            yield "FAIL", str(error)
        else:
            told = f"set for octavo serve: {', '.join(changed)}" if changed else "the defaults"
            yield "ok", told

    def look_at_encoder_cache(self) -> Iterator[Remark]:
        """Whether the store answers, if they name one."""
        try:
            url = self._settings.config.encoder_cache
        except ConfigError:  # told of the settings
            return
        if url is not None:
            yield from look_at_store(url)

    @cached_property
    def _settings(self) -> _Settings:
        """Raises ConfigError."""
        parser = CommandParser(prog="octavo serve")
        add_serve_options(parser, model_help="")
        usual = {name: parser.get_default(name) for name in parser.settings()}
        options = parser.parse_args(self._words)
        changed = [name for name, value in usual.items() if getattr(options, name) != value]
        intake_config(options)
        options.trace = None  # the file would be begun anew
        return _Settings(engine_config(options), tuple(changed))
