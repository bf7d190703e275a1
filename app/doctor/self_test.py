"""The doctor's self-test, run in a process of its own: a broken torch, or an instruction that the
processor lacks, ends that process and not the report."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from .finding import Remark

MODULE = f"{__package__}.self_test_process"
_PATIENCE_S = 600.0
_SHOWN = 300


def look_at_self_test(shows_stderr: bool) -> Iterator[Remark]:
    """What the process tells, and how it ended if not well; what it wrote to stderr if wanted."""
    # -P: a folder that happens to be the working one must not be a source of modules.
    command = [sys.executable, "-P", "-m", MODULE]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=_PATIENCE_S, errors="replace"
        )
    except subprocess.TimeoutExpired:
        yield "FAIL", f"it was not done after {_PATIENCE_S:g} s"
        return
    if shows_stderr:
        print(done.stderr, file=sys.stderr, end="")
    for line in done.stdout.splitlines():
        yield msgspec.json.decode(line, type=Remark)
    if done.returncode:
        yield "FAIL", _end(done.returncode, done.stderr)


def _end(status: int, said: str) -> str:
    how = f"status {status}" if status > 0 else signal.Signals(-status).name
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    return f"its process ended by {how}: {last.strip()[:_SHOWN]}"
