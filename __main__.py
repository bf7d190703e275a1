"""The `octavo` command, and `python -m octavo`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app.cli.command_parser import CommandParser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status. A Ctrl-C before any of it has begun, while its modules are
    imported, ends it at once, as SIGTERM does, without a traceback."""
    # Where a shell has it ignored, it stays so.
    catches = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if catches:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .app.cli.cli import run

    parser = build_command_line()
    if catches:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run(parser, arguments)


def build_command_line() -> CommandParser:
    """The grammar of all commands."""
    from .app.cli.cli import build_parser
    from .bench.bench_cli import add_bench

    parser, commands = build_parser()
    add_bench(commands.add_parser("bench", help="measure, and print a table"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
