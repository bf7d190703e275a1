"""A parser of arguments that also takes settings from a file and from the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.protocol.setting import nearest
from .config_file import read_config_file
from .settings_sources import settings_from_environment, settings_from_file

_CONFIG = "--config"


class CommandParser(argparse.ArgumentParser):
    """What the arguments don't say comes from the environment, then from the file of --config, if
    this command has that option, then from the defaults."""

    def add_config_option(self) -> None:
        """Take settings from a file and the environment."""
        self.add_argument(
            _CONFIG,
            type=Path,
            metavar="FILE",
            help="TOML or YAML with more of these settings, such as max_num_seqs = 8; arguments "
            "and the environment's OCTAVO_MAX_NUM_SEQS go before it",
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does. Raises ConfigError for what the file or the environment says; an
        unknown option ends the program, with the name of the nearest."""
        words = sys.argv[1:] if args is None else list(args)
        if _CONFIG in self._option_string_actions:
            self.set_defaults(**self._given_elsewhere(super().parse_known_args(words)[0].config))
        parsed, unknown = super().parse_known_args(words, namespace)
        if unknown and unknown[0].startswith("--"):
            hint = nearest(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed, unknown

    def settings(self) -> dict[str, argparse.Action]:
        """The options that a file may give, by name; none that is given several times, such as the
        pictures of one question."""
        others = ("help", _CONFIG.removeprefix("--"))
        return {
            action.dest: action
            for action in self._actions
            if action.dest not in others
            and (action.option_strings or action.nargs == "?")
            and (action.nargs == "+" or not isinstance(action.default, list))
        }

    def _given_elsewhere(self, path: Path | None) -> dict[str, Any]:
        actions = self.settings()
        given: dict[str, Any] = {}
        if path is not None:
            given = settings_from_file(actions, read_config_file(path), f"--config: {path}")
        return given | settings_from_environment(actions, os.environ)
