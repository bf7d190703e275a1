"""What a first user meets: how `octavo serve` ends or gets ready, how soon, and its last words.

    python -m octavo.bench.first_hour

prints a row for each case: seconds until the process ended, or until the server was ready, the exit
status, and the last line that it wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..app import DEMO_MODEL
from .machine import describe_machine

_PATIENCE_S = 300.0
_POLL_S = 0.01
_SHOWN = 110


@dataclass(frozen=True)
class Case:
    """arguments: of `octavo serve`. environment: what is different. interrupt: says when the
    server, of which it gets the process and the address, is sent Ctrl-C; None for never."""

    name: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    interrupt: Callable[[subprocess.Popen[bytes], str], None] | None = None


def main() -> int:
    """Run all cases; returns the exit status."""
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        for case in _cases(Path(folder)):
            with _run(case) as (process, log, base):
                begin = time.perf_counter()
                if case.interrupt is not None:
                    case.interrupt(process, base)
                    begin = time.perf_counter()
                    process.send_signal(signal.SIGINT)
                ended = _until_ended_or_ready(process, base, case.interrupt is not None)
                seconds = time.perf_counter() - begin
                what = f"status {process.returncode}" if ended else "ready"
                said = log.read_text(errors="replace").strip().splitlines() or [""]
            print(f"{case.name:<28}{seconds:7.2f} s  {what:<10} {said[-1][:_SHOWN]}", flush=True)
    return 0


def _cases(folder: Path) -> Iterator[Case]:
    """In this order, as the first good one leaves what the later ones find."""
    fresh = {"XDG_CACHE_HOME": str(folder / "cache")}
    yield Case("first start", environment=fresh)
    yield Case("second start", environment=fresh)
    yield Case("wrong path", ("./no-such-model",))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield Case("port in use", ("--port", str(other.getsockname()[1])))
    yield Case("port 99999", ("--port", "99999"))
    yield Case("--quantization int7", ("--quantization", "int7"))
    truncated = folder / "truncated"
    shutil.copytree(DEMO_MODEL, truncated)
    weights = truncated / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    yield Case("truncated checkpoint", (str(truncated),))
    yield Case("--kv-cache-memory 1TiB", ("--kv-cache-memory", "1TiB"))
    nothing = {"PATH": str(folder), "CXX": ""}
    yield Case(
        "no compiler", environment={**nothing, "OCTAVO_KERNEL_CACHE": str(folder / "kernels")}
    )
    (folder / "file").touch()
    yield Case("home that can't be written", environment={"XDG_CACHE_HOME": str(folder / "file")})
    yield Case("Ctrl-C after 0.1 s", interrupt=lambda process, base: time.sleep(0.1))
    yield Case("Ctrl-C while loading", interrupt=lambda process, base: _wait_for(503, base))
    yield Case("Ctrl-C while serving", interrupt=lambda process, base: _wait_for(200, base))


@contextmanager
def _run(case: Case) -> Iterator[tuple[subprocess.Popen[bytes], Path, str]]:
    """The process, what it writes, and where it listens unless the case says another port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = () if "--port" in case.arguments else ("--port", str(port))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        command = [sys.executable, "-m", "octavo", "serve", *case.arguments, *given]
        with (
            path.open("wb") as log,
            subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **case.environment}
            ) as process,
        ):
            try:
                yield process, path, f"http://127.0.0.1:{port}"
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()


def _until_ended_or_ready(process: subprocess.Popen[bytes], base: str, ends: bool) -> bool:
    """True if it ended. ends: whether to wait for that alone."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return True
        if not ends and _health(base) == 200:
            return False
        time.sleep(_POLL_S)
    raise TimeoutError("the server neither ended nor got ready")


def _wait_for(status: int, base: str) -> None:
    while _health(base) != status:
        time.sleep(_POLL_S)


def _health(base: str) -> int:
    """The status of GET /health; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=10) as answer:
            json.load(answer)
            return 200
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
