"""What a process and its children hold in memory and have computed, as Linux tells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessMemory:
    """In MiB. rss: resident now; peak: at most so far; pss: resident, with what several processes
    share split among them. cpu_s: seconds of processor time so far."""

    pid: int
    name: str
    rss: float
    peak: float
    pss: float
    cpu_s: float


def peak_mib() -> float:
    """The most that this process has held so far, in MiB."""
    return _status(os.getpid())[2]


def memory_of_tree(pid: int) -> list[ProcessMemory]:
    """A process, its children and theirs. Raises OSError if there is no such process."""
    found = [_memory(pid)]
    for child in _children(pid):
        try:
            found += memory_of_tree(child)
        except OSError:  # it has ended since
            continue
    return found


def _children(pid: int) -> list[int]:
    tasks = (_PROC / str(pid) / "task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _memory(pid: int) -> ProcessMemory:
    name, rss, peak = _status(pid)
    pss = _kib(_PROC / str(pid) / "smaps_rollup", "Pss") / 1024
    return ProcessMemory(pid, name, rss, peak, pss, _cpu_seconds(pid))


def _cpu_seconds(pid: int) -> float:
    # In clock ticks, after the name in brackets: see proc_pid_stat(5).
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int) -> tuple[str, float, float]:
    path = _PROC / str(pid) / "status"
    name = path.read_text().partition("Name:")[2].partition("\n")[0].strip()
    return name, _kib(path, "VmRSS") / 1024, _kib(path, "VmHWM") / 1024


def _kib(path: Path, field: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise OSError(f"{path} has no {field}: the process has ended")
