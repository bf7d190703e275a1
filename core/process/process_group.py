"""What a child process and its own children use and how they are ended; see `process_group=0`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_POLL_S = 0.01


def kill_group(leader: int) -> None:
    """End a process that leads a group, and what it started; not once it has been waited for, as
    its number may be another's by then. Also works on processes that are stopped."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def reap_group(process: subprocess.Popen[bytes], patience: float) -> str:
    """Wait until the leader has ended, or end it after so many seconds; then end what is left of
    its group. Returns what is known of the leader's end."""
    deadline = time.monotonic() + patience
    while not _has_ended(process.pid) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    kill_group(process.pid)
    status = process.wait()
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _has_ended(pid: int) -> bool:
    """Whether a child has; it is left to be waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def process_ticks(pid: int) -> int:
    """The processor time of a process, in the kernel's ticks; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return _Stat(text).ticks


def group_ticks(leader: int) -> int:
    """The processor time of all processes of a group, such as compilers."""
    return sum(stat.ticks for stat in _all_stats() if stat.group == leader)


class _Stat:
    """A line of /proc/PID/stat; see proc(5)."""

    def __init__(self, text: str) -> None:
        # The name comes before, in brackets, and may hold anything.
        fields = text.rpartition(")")[2].split()
        self.group = int(fields[2])
        # Its own, and its children's that it has waited for.
        self.ticks = sum(map(int, fields[11:15]))


def _all_stats() -> Iterator[_Stat]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            yield _Stat(path.read_text())
