"""A thousand requests, a third of whose clients are killed at random moments.

    python -m octavo.bench.killed_clients [NUM_REQUESTS]

Starts a server with the demo model, and prints what its engine holds before and after, and how
much memory the server's two processes use on the way.
"""

from __future__ import annotations

import asyncio
import base64
import random
import sys
from pathlib import Path
from typing import Any

from ..app import DEMO_MODEL
from .machine import describe_machine
from .server_process import ServerProcess

_CONCURRENCY = 24
_PICTURES = Path(DEMO_MODEL).parents[1] / "examples" / "images"


async def main(num_requests: int) -> None:
    """Run the load in three parts, so that growth would show."""
    print(describe_machine())
    server = ServerProcess()
    try:
        await server.until_healthy()
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
        server.stop()


async def _run_part(
    server: ServerProcess, rng: random.Random, pictures: list[str], count: int
) -> int:
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


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
