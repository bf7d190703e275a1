"""A worker: a fresh process that measures one side."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.protocol.config import ConfigError
from .side import Side, link_tree

_SCRIPT = Path(__file__).with_name("worker.py")
_START_S, _ANSWER_S = 600.0, 300.0
_SHOWN_LINES = 10


class WorkerProcess:
    """start_seconds: from spawning until its model was loaded; package: the file that it
    imported. All methods raise ConfigError, with what the process said last, if it fails."""

    def __init__(self, side: Side, process: asyncio.subprocess.Process, log: Any) -> None:
        self._side = side
        self._process = process
        self._log = log
        self._spawned = time.perf_counter()
        self.start_seconds = 0.0
        self.package = ""

    @classmethod
    async def spawn(cls, side: Side, folder: Path, options: Sequence[str]) -> WorkerProcess:
        """folder: where a link to the side's tree may be made; options: of `worker.py`."""
        log = tempfile.TemporaryFile()  # noqa: SIM115 – closed by stop()
        try:
            process = await asyncio.create_subprocess_exec(
                *(side.python, "-P", str(_SCRIPT), *options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=link_tree(side, folder),
            )
        except OSError as error:
            log.close()
            raise ConfigError(f"{side.label} can't be run: {error}") from error
        return cls(side, process, log)

    async def until_ready(self) -> None:
        """Wait until the model is loaded, and check that it is the side's."""
        hello = await self._read(_START_S)
        self.start_seconds = time.perf_counter() - self._spawned
        self.package = hello["package"]
        tree = self._side.tree
        if tree is not None and Path(self.package).parent != tree:
            raise ConfigError(f"{self._side.label}: {self.package} was loaded instead of {tree}")

    async def measure(self, metric: str, seed: int) -> float:
        """Seconds."""
        assert self._process.stdin is not None
        order = json.dumps({"metric": metric, "seed": seed}) + "\n"
        try:
            self._process.stdin.write(order.encode())
            await self._process.stdin.drain()
        except ConnectionError as error:
            raise self._failed("ended") from error
        seconds: float = (await self._read(_ANSWER_S))["seconds"]
        return seconds

    async def stop(self) -> None:
        """End it and wait for that."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._log.close()

    async def _read(self, patience: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(patience):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise self._failed(f"gave no answer for {patience:.0f} s") from error
        if not line:
            raise self._failed("ended")
        content: dict[str, Any] = json.loads(line)
        return content

    def _failed(self, how: str) -> ConfigError:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
        return ConfigError("\n".join([f"{self._side.label}: the measuring process {how}:", *lines]))
