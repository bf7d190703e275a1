"""A server process for tests, and what one asks of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest


@contextmanager
def running_server(*arguments: str, log: Path | None = None, threads: int = 1) -> Iterator[str]:
    """`octavo serve` with these arguments; gives its address. log: a file for its stderr. threads:
    that compute in its engine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "octavo", "serve", "--port", str(port), *arguments]
    with (
        open(log, "wb") if log is not None else nullcontext() as stderr,
        subprocess.Popen(
            command, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        ) as process,
    ):
        base = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: is_healthy(base), 60)
            yield base
        finally:
            process.terminate()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Fails after so many seconds, four times as many on a machine that others use too."""
    deadline = time.monotonic() + 4 * seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        time.sleep(0.05)


def is_healthy(base: str) -> bool:
    # A server that imports torch on a busy machine may keep who asks waiting.
    try:
        return httpx.get(f"{base}/health", timeout=60).status_code == 200
    except httpx.ConnectError:
        return False


def chat(base: str, text: str = "Hello", **fields: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}], **fields}
    # A machine that others use too may take minutes to load what answers.
    return httpx.post(f"{base}/v1/chat/completions", json=body, timeout=240)


def free_blocks(base: str) -> int:
    count: int = httpx.get(f"{base}/health").json()["num_free_blocks"]
    return count


def metric(base: str, name: str) -> float:
    """The value of one sample of /metrics."""
    for line in httpx.get(f"{base}/metrics").text.splitlines():
        if line.startswith(f"octavo:{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")
