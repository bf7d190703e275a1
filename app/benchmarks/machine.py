"""On what and when something was measured."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch


def describe_machine() -> str:
    """Processor, cores, versions and the date, in one line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0))
    today = datetime.now(UTC).date()
    return f"{cpu}, {cores} cores, torch {torch.__version__}, {today}"
