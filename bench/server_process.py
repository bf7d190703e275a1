"""A server to be measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.protocol.config import ConfigError

_START_S = 600.0
_POLL_S = 0.02
_SHOWN_LINES = 10


class ServerClient:
    """Asks a server through plain sockets that can be cut at any moment."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def get(self, path: str) -> str:
        """The body of an answer."""
        answer = await self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return answer.partition(b"\r\n\r\n")[2].decode()

    async def post(self, body: dict[str, Any], patience: float | None = None) -> bytes:
        """The whole answer; with `patience`, what came until the connection is cut."""
        return await self.ask(chat_request(body), patience)

    async def time_to_first_token(self, body: dict[str, Any]) -> float:
        """Seconds until a stream's first event; the rest is read, too.

        Raises RuntimeError for an answer that is no stream.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        started = time.perf_counter()
        try:
            writer.write(chat_request({**body, "stream": True}).encode())
            answer = b""
            while b"data: " not in answer:
                chunk = await reader.read(65536)
                if not chunk:
                    raise RuntimeError(f"the server answered {answer[:300]!r}")
                answer += chunk
            seconds = time.perf_counter() - started
            await reader.read()
            return seconds
        finally:
            writer.transport.abort()

    async def metric(self, name: str) -> float:
        """The value of one sample of /metrics."""
        for line in (await self.get("/metrics")).splitlines():
            if line.startswith(f"octavo:{name} "):
                return float(line.split()[1])
        raise RuntimeError(f"there is no metric {name}")

    async def ask(self, request: str | bytes, patience: float | None = None) -> bytes:
        """Send raw HTTP and read until the server closes or patience ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request.encode() if isinstance(request, str) else request)
            async with asyncio.timeout(patience):
                return await reader.read()
        except TimeoutError:
            return b""
        finally:
            writer.transport.abort()

    async def held(self) -> tuple[int, int]:
        """Free blocks and pinned encoder bytes."""
        health = json.loads(await self.get("/health"))
        return health["num_free_blocks"], health["encoder_cache_pinned_bytes"]


class ServerProcess(ServerClient):
    """`octavo serve` in a process. arguments: of the command; environment: the process's, by
    default this one's."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            super().__init__(probe.getsockname()[1])
        command = [sys.executable, "-P", "-m", "octavo", "serve", "--port", str(self.port)]
        command += arguments
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 – closed by stop()
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=self._log, env=environment
        )

    async def until_healthy(self) -> None:
        """Wait until its model is there. Raises ConfigError, with what it said last, if it ends
        instead, or never does."""
        deadline = time.monotonic() + _START_S
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(ConnectionError, ValueError):
                # Older servers don't answer before.
                if json.loads(await self.get("/health")).get("status") == "ok":
                    return
            await asyncio.sleep(_POLL_S)
        if self.process.poll() is None:
            raise ConfigError(f"the server did not start within {_START_S:.0f} s")
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        raise ConfigError("\n".join(["the server did not start:", *lines[-_SHOWN_LINES:]]))

    def stop(self) -> None:
        """End it and wait for that."""
        self.process.terminate()
        self.process.wait()
        self._log.close()

    async def memory(self) -> tuple[float, float]:
        """Resident MiB of the server and of its engine."""
        engine = json.loads(await self.get("/health"))["engine_pid"]
        return _resident_mib(self.process.pid), _resident_mib(engine)


def chat_request(body: dict[str, Any]) -> str:
    """A POST of a chat, as it goes over the wire."""
    content = json.dumps(body)
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Length: {len(content)}\r\n\r\n{content}"
    )


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no process {pid}")
