"""A page about a server elsewhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from serving import wait_until


@contextmanager
def running_page(base: str, temporary: Path) -> Iterator[str]:
    """`octavo demo --base-url`; gives the page's address. base: the server's. Its files are in
    `temporary`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "octavo", "demo", "--base-url", base, "--port", str(port)]
    # Gradio then notices within a quarter of a second, not 15, that a visitor has left.
    environment = {**os.environ, "TMPDIR": str(temporary), "GRADIO_IS_E2E_TEST": "1"}
    url = f"http://127.0.0.1:{port}/ui/"
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_until(lambda: is_there(url))
            yield url
        finally:
            process.terminate()


def is_there(url: str) -> bool:
    """Whether a page answers."""
    try:
        return httpx.get(url, timeout=240).status_code == 200
    except httpx.ConnectError:
        return False
