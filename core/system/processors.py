"""How much of the machine's processors this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def allowed_processors() -> int:
    """Processors that its threads may run on."""
    return len(os.sched_getaffinity(0))


def processor_quota() -> float | None:
    """Processors' worth of time that its control group gets, such as 1.5; None without a limit."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
    except OSError:
        return None
    return None if quota == "max" else int(quota) / int(period)
