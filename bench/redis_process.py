"""A Redis server to measure with, where one is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path


def find_redis() -> str | None:
    """redis-server or valkey-server, on PATH or beside the interpreter."""
    places = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    found = (shutil.which(name, path=places) for name in ("redis-server", "valkey-server"))
    return next((path for path in found if path), None)


class RedisProcess:
    """One without persistence, at `url`."""

    def __init__(self, binary: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._wait_for(port)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def _wait_for(self, port: int) -> None:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("the Redis server did not start")
