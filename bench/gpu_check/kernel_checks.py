"""The checks of the Triton kernels against the reference, on the device."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: A line of pytest's for one check, alone or among several processes.
_LINE = re.compile(
    r"^(?P<alone>\S+::\S.*?) (?P<result>PASSED|FAILED|ERROR)\b"
    r"|^\[gw\d+\].*? (?P<shared_result>PASSED|FAILED|ERROR) (?P<shared>\S+::\S.*?)\s*$"
)
#: Processes that compile kernels at once.
_MOST_PROCESSES = 8


def run_kernel_checks(checks: Path, device: str, seconds: float) -> dict[str, Any]:
    """What passed and failed by the names of checks, and the output if something did.

    checks: the folder tests/kernels/triton_interpreted. device: "cpu" for Triton's interpreter.
    complete: whether they ended within so many seconds, and there was at least one.
    """
    environment = os.environ | {"OCTAVO_TRITON_DEVICE": device}
    environment.pop("TRITON_INTERPRET", None)
    if device == "cpu":
        environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    # An ini file's folder is what names of checks begin at.
    command = [sys.executable, "-m", "pytest", "-vv", "-c", str(checks / "pytest.ini"), str(checks)]
    begun = time.monotonic()
    run = subprocess.Popen(
        [*command, "--numprocesses", str(processes)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = run.communicate(timeout=seconds)
        ended = True
    except subprocess.TimeoutExpired:
        run.kill()
        output, _ = run.communicate()
        ended = False
    results = summarise(output.splitlines())
    failed = not results or run.returncode != 0
    return {
        "device": device,
        "complete": ended and bool(results),
        "seconds": round(time.monotonic() - begun, 1),
        "checks": results,
        **({"output": output[-20_000:]} if failed else {}),
    }


def summarise(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """By check, without its parameters: how many passed, and which failed."""
    checks: dict[str, dict[str, Any]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        name = (match["alone"] or match["shared"]).split("/")[-1]
        check = checks.setdefault(name.split("[")[0], {"passed": 0, "failed": list[str]()})
        if (match["result"] or match["shared_result"]) == "PASSED":
            check["passed"] += 1
        elif name not in check["failed"]:
            check["failed"].append(name)
    return checks
