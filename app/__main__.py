"""The `octavo` command, and `python -m octavo.app`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run it; returns the exit status. A Ctrl-C before any of it has begun, while its modules are
    imported, ends it at once, as SIGTERM does, without a traceback."""
    # Where a shell has it ignored, it stays so.
    catches = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if catches:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.cli import main as run

    if catches:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
