"""The command line's options for what is logged, and how."""

from __future__ import annotations

import argparse

from ...core.system.log_setup import FORMATS, LEVELS, LogSetup
from ..http.access_log import ACCESS_LOGS

#: The names of all, which the environment may give too.
LOG_SETTINGS = ("log_level", "log_format", "access_log")


def add_log_options(parser: argparse.ArgumentParser, serves: bool) -> None:
    """Those of every command with a model. serves: whether it is a server, which logs requests."""
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        default=LogSetup.level,
        help=f"the least that is logged, to stderr (default: {LogSetup.level})",
    )
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        default=LogSetup.format,
        help=f"lines to read, or a JSON object on each (default: {LogSetup.format})",
    )
    if serves:
        parser.add_argument(
            "--access-log",
            choices=ACCESS_LOGS,
            default=ACCESS_LOGS[0],
            help="requests that are logged: those for answers, thus without /health, /metrics "
            f"and the page; all; or none (default: {ACCESS_LOGS[0]})",
        )
        parser.set_defaults(library_level=LogSetup.library_level)


def log_setup(options: argparse.Namespace) -> LogSetup:
    """What was parsed. Libraries' warnings are for operators: commands that print something to
    read leave them out, unless they are asked for all."""
    level = getattr(options, "log_level", LogSetup.level)
    otherwise = LogSetup.library_level if level == "debug" else "error"
    return LogSetup(
        level,
        getattr(options, "log_format", LogSetup.format),
        getattr(options, "library_level", otherwise),
    )
