"""How soon a server answers /health while large images pour in.

    python -m octavo.bench.image_flood [SECONDS]

Clients send distinct PNGs of two million pixels of noise, about 6 MB each, to a server with
the demo model; /health is asked 50 times a second from another process than theirs.
"""

from __future__ import annotations

import asyncio
import base64
import io
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
from PIL import Image

from .machine import describe_machine
from .server_process import ServerClient, ServerProcess, chat_request

_CLIENTS = 4
_SIDE = 1400
_INTERVAL_S = 0.02
#: Six bytes, so that they are eight characters in base64 wherever they stand.
_NUMBER = b"number"


async def main(seconds: float) -> None:
    """Measure without and with the flood, and print."""
    print(describe_machine())
    server = ServerProcess("--no-enable-prefix-caching")
    try:
        await server.until_healthy()
        _print("idle", await _watch(server, seconds / 2))
        context = multiprocessing.get_context("spawn")
        end, count = context.Event(), context.Value("i", 0)
        flood = context.Process(target=_flood, args=(server.port, end, count))
        flood.start()
        while count.value == 0:
            await asyncio.sleep(0.1)
        started, before = time.perf_counter(), count.value
        waits = await _watch(server, seconds)
        rate = (count.value - before) / (time.perf_counter() - started)
        end.set()
        flood.join()
        _print(f"{rate:.1f} large images a second", waits)
    finally:
        server.stop()


async def _watch(server: ServerProcess, seconds: float) -> list[float]:
    """What each GET of /health took, in seconds."""
    waits = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        started = time.perf_counter()
        await server.get("/health")
        waits.append(time.perf_counter() - started)
        await asyncio.sleep(_INTERVAL_S)
    return waits


def _print(load: str, waits: list[float]) -> None:
    ordered = sorted(waits)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
    print(f"/health, {load}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, of {len(ordered)}")


def _flood(port: int, end: Event, count: Any) -> None:
    """Run by the clients' process until `end`; counts the answers."""
    asyncio.run(_send_all(port, end, count))


async def _send_all(port: int, end: Event, count: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    large = buffer.getvalue()
    # Written once, as the clients must leave the processor to the server.
    request = chat_request(_body(large + bytes(-len(large) % 3) + _NUMBER))
    start, _, rest = request.rpartition(base64.b64encode(_NUMBER).decode())

    async def send(index: int) -> None:
        sent = 0
        while not end.is_set():
            # Bytes after the end of a picture make it another file.
            number = bytes([index, 0]) + sent.to_bytes(4, "big")
            other = start + base64.b64encode(number).decode() + rest
            answer = await ServerClient(port).ask(other)
            if b" 200 " not in answer[:20]:
                raise RuntimeError(f"the server answered {answer[:300]!r}")
            sent += 1
            count.value += 1

    await asyncio.gather(*(send(i) for i in range(_CLIENTS)))


def _body(data: bytes) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What is this?"},
    ]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 4}


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
