"""A thousand requests, a third of whose clients are killed at random moments.

    python -m octavo.app.benchmarks.killed_clients [NUM_REQUESTS]

Starts a server with the demo model, and prints what its engine holds before and after, and how
much memory the server's two processes use on the way.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from .. import DEMO_MODEL
from .machine import describe_machine

_CONCURRENCY = 24
_PICTURES = Path(DEMO_MODEL).parents[1] / "examples" / "images"


class Server:
    """`octavo serve` in a process, asked through plain sockets that can be cut at any moment."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-P", "-m", "octavo.app", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def get(self, path: str) -> str:
        """The body of an answer."""
        answer = await self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return answer.partition(b"\r\n\r\n")[2].decode()

    async def post(self, body: dict[str, Any], patience: float | None = None) -> bytes:
        """The whole answer; with `patience`, what came until the connection is cut."""
        content = json.dumps(body)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return await self.ask(head + content, patience)

    async def ask(self, request: str, patience: float | None = None) -> bytes:
        """Send raw HTTP and read until the server closes or patience ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request.encode())
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

    async def memory(self) -> tuple[float, float]:
        """Resident MiB of the server and of its engine."""
        engine = json.loads(await self.get("/health"))["engine_pid"]
        return _resident_mib(self.process.pid), _resident_mib(engine)


async def main(num_requests: int) -> None:
    """Run the load in three parts, so that growth would show."""
    print(describe_machine())
    server = Server()
    try:
        await _until_healthy(server)
        before = await server.held()
        rng = random.Random(0)
        pictures = [_data_url(path) for path in sorted(_PICTURES.glob("*.png"))]
        killed = 0
        for part in range(4):
            killed += await _run_part(server, rng, pictures, num_requests // 4)
            sizes = await server.memory()
            done = (part + 1) * (num_requests // 4)
            print(f"after {done} requests: server {sizes[0]:.0f} MiB, engine {sizes[1]:.0f} MiB")
        await asyncio.sleep(1)
        after = await server.held()
        print(
            f"{killed} clients killed; free blocks and pinned bytes: {before} before, {after} after"
        )
    finally:
        server.process.terminate()
        server.process.wait()


async def _run_part(server: Server, rng: random.Random, pictures: list[str], count: int) -> int:
    """Run requests; returns how many of their clients were killed."""
    slots = asyncio.Semaphore(_CONCURRENCY)
    jobs = [
        (_make_body(rng, pictures), rng.uniform(0.005, 0.6) if rng.random() < 1 / 3 else None)
        for _ in range(count)
    ]

    async def run(body: dict[str, Any], patience: float | None) -> bool:
        async with slots:
            answer = await server.post(body, patience)
            if answer and b" 200 " not in answer[:20]:
                raise RuntimeError(f"the server answered {answer[:300]!r}")
            return not answer

    return sum(await asyncio.gather(*(run(*job) for job in jobs)))


def _make_body(rng: random.Random, pictures: list[str]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": f"What is this, {rng.random()}?"}]
    for url in rng.sample(pictures, rng.randrange(3)):
        parts.insert(0, {"type": "image_url", "image_url": {"url": url}})
    return {
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": rng.randrange(1, 80),
        "ignore_eos": True,
        "stream": rng.random() < 0.5,
    }


async def _until_healthy(server: Server) -> None:
    for _ in range(600):
        try:
            await server.get("/health")
        except ConnectionError:
            await asyncio.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not start")


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no process {pid}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
