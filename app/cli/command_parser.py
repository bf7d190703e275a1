"""A parser of arguments that also takes settings from a file and from the environment, and whose
help can be found one's way in."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from ...core.protocol.setting import nearest
from .config_file import read_config_file
from .option_groups import grouped
from .settings_sources import settings_from_environment, settings_from_file

_CONFIG = "--config"

#: argparse has no public name for it.
Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Says each option's default, if its text does not."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        silent = not (action.default or action.type) or action.default in (None, argparse.SUPPRESS)
        is_said = "default" in text or action.required or not action.option_strings
        return text if silent or is_said else f"{text} (default: %(default)s)"


class CommandParser(argparse.ArgumentParser):
    """What the arguments don't say comes from the environment, then from the file of --config, if
    this command has that option, then from the defaults.

    examples: lines that one could type. Every parser takes --debug, so that it may stand before a
    command or after it.
    """

    def __init__(self, *, examples: Sequence[str] = (), **arguments: Any) -> None:
        epilog = "\n".join(
            ["examples:" if examples[1:] else "example:", *(f"  {e}" for e in examples)]
        )
        super().__init__(
            **arguments,
            epilog=epilog if examples else None,
            formatter_class=_HelpFormatter,
        )
        self._takes_settings = False
        self._whole_only: list[str] = []
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show where in the program an error came from",
        )

    def format_usage(self) -> str:
        """In one line; the help has the options, by groups."""
        return f"usage: {self._short_usage()}\n"

    def format_help(self) -> str:
        """Usage, what it does, arguments, options under headings, and examples."""
        formatter = self._get_formatter()
        formatter.add_usage(self._short_usage().replace("%", "%%"), self._actions, [])
        formatter.add_text(self.description)
        positionals, options, *further = self._action_groups
        sections = {
            "commands" if self._subparsers else "arguments": positionals._group_actions,
            **{str(group.title): group._group_actions for group in further},
            **grouped(options._group_actions),
        }
        for title, actions in sections.items():
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        """End the program with one line, whatever the number of options."""
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help lists what there is)\n")

    def require_whole(self, option: str) -> None:
        """Don't know an option by its beginning, which is another command's option."""
        self._whole_only.append(option)

    def add_config_option(self) -> None:
        """Take settings from a file and the environment."""
        self._takes_settings = True
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
        self._refuse_beginnings(words)
        if self._takes_settings:
            self.set_defaults(**self._given_elsewhere(super().parse_known_args(words)[0].config))
        parsed, unknown = super().parse_known_args(words, namespace)
        if unknown and unknown[0].startswith("--"):
            hint = nearest(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed, unknown

    def _refuse_beginnings(self, words: Sequence[str]) -> None:
        names = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--"}
        for name in names - self._option_string_actions.keys():
            for option in self._whole_only:
                if option.startswith(name):
                    self.error(f"unrecognized arguments: {name}; did you mean {option}?")

    def settings(self) -> dict[str, argparse.Action]:
        """The options that a file may give, by name; none that is given several times, such as the
        pictures of one question."""
        others = ("help", "debug", _CONFIG.removeprefix("--"))
        return {
            action.dest: action
            for action in self._actions
            if action.dest not in others
            and (action.option_strings or action.nargs == "?")
            and (action.nargs == "+" or not isinstance(action.default, list))
        }

    def _short_usage(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(None, [a for a in self._actions if not a.option_strings], [], "")
        words = formatter.format_help().split()
        required = [
            f"{a.option_strings[-1]} {a.metavar or a.dest.upper()}"
            for a in self._actions
            if a.required and a.option_strings
        ]
        prog = self.prog.split()
        return " ".join([*prog, *required, "[options]", *words[len(prog) :]])

    def _given_elsewhere(self, path: Path | None) -> dict[str, Any]:
        actions = self.settings()
        given: dict[str, Any] = {}
        if path is not None:
            given = settings_from_file(actions, read_config_file(path), f"--config: {path}")
        return given | settings_from_environment(actions, os.environ)


def add_commands(parser: CommandParser, metavar: str) -> Commands:
    """Where a parser's commands are added. Without one, it prints its help."""

    def print_help(options: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(run=print_help)
    return parser.add_subparsers(metavar=metavar)
