"""An engine in a process of its own Python, and what it takes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from .process_tree import PeakMemory, cpu_seconds, machine_cpu_seconds, process_tree
from .workloads import Call

_END_S = 30
_LOG_LINES = 4


class EngineFailedError(RuntimeError):
    """An engine did not start, ended, took too long, or answered with an error."""


class EngineProcess:
    """Starts it and waits until the model is loaded. log: a file for what it prints, in
    the folder that it runs in; patience:
    seconds that loading, and each call, may take. Raises EngineFailedError.

    ready_s is from the start of the process; load_s is without its imports of the start.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], log: Path, patience: float
    ) -> None:
        self._log = log
        self._patience = patience
        started = time.perf_counter()
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                env=dict(env),
                # A folder of the caller's may hide an engine's own modules.
                cwd=log.parent,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._memory = PeakMemory(self._process.pid)
        try:
            ready = self._read()
        except EngineFailedError:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - started
        self.load_s: float = ready["load_s"]
        self.version: str = ready["version"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def peak_bytes(self) -> int:
        """The largest sum of resident sets so far."""
        return self._memory.bytes

    def ask(self, call: Call) -> dict[str, Any]:
        """Its answer, with "foreign_cores": what others used of the machine meanwhile.

        Raises EngineFailedError.
        """
        assert self._process.stdin is not None
        tree = process_tree(self._process.pid)
        before = machine_cpu_seconds() - cpu_seconds(tree)
        started = time.perf_counter()
        try:
            self._process.stdin.write(json.dumps(call.to_message()) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failed("it has ended") from error
        answer = self._read()
        elapsed = time.perf_counter() - started
        foreign = machine_cpu_seconds() - cpu_seconds(tree) - before
        if "error" in answer:
            raise EngineFailedError(answer["error"])
        return {**answer, "foreign_cores": max(0.0, foreign / elapsed)}

    def stop(self) -> None:
        """End it, and all that it started."""
        self._memory.stop()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # What an engine that ended left unread.
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        self._process.stdout.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(self._patience, self._kill)
        timer.start()
        line = self._process.stdout.readline()
        timed_out = not timer.is_alive()
        timer.cancel()
        if not line:
            raise self._failed(f"it took over {self._patience:g} s" if timed_out else "it ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failed(self, what: str) -> EngineFailedError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return EngineFailedError("; ".join([what, *lines[-_LOG_LINES:]]))
