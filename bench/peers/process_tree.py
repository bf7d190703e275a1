"""What a process and its descendants take of the machine, as Linux counts it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_S = 0.1


def process_tree(pid: int) -> list[int]:
    """The process and its descendants; it alone if it has ended."""
    tree = [pid]
    for member in tree:
        tree += _children(member)
    return tree


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that they have used, in user and system mode."""
    stats = [_stat(pid) for pid in pids]
    return sum(int(s[11]) + int(s[12]) for s in stats if s) / _TICKS


def machine_cpu_seconds() -> float:
    """Processor time that everyone has used since the machine started."""
    line = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _iowait, irq, softirq = map(int, line[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def resident_bytes(pids: list[int]) -> int:
    """Their resident sets. What they share counts for each of them."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            continue  # It ended meanwhile.
    return total


class PeakMemory:
    """Watches the resident bytes of a process and its descendants, ten times a second."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and no longer."""
        self._stopped.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stopped.wait(_SAMPLE_S):
            self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, resident_bytes(process_tree(self._pid)))


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []  # It, or one of its threads, ended meanwhile.


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on: [11] and [12] are the times in user and system
    mode, in ticks. Empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
