"""A process ends with its parent. As a script it starts a command that does:

    python -IS parent_death.py COMMAND [ARGUMENT...]

The variable below must hold the caller's process id; the command finds its own there, so that a
compiler may start its parts in the same way. The script takes a hundredth of a second, where a
command that ties itself first imports modules, and outlives its parent if it is stopped meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "OCTAVO_PARENT_PID"
#: Before a command: it is started so.
TIE = [sys.executable, "-IS", __file__]
_PR_SET_PDEATHSIG = 1


def tied_environment() -> dict[str, str]:
    """This process's environment, for a command that TIE stands before."""
    return {**os.environ, PARENT_VARIABLE: str(os.getpid())}


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process as soon as the thread that started it ends, even while it
    is stopped. parent: that thread's process; if it has ended by now, this one ends here."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(os.environ[PARENT_VARIABLE]))
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    os.execvp(sys.argv[1], sys.argv[1:])
