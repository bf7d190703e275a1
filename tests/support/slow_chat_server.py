"""A chat server over real sockets that answers one request at a time, each as slowly as told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """A request as the server saw it; times of `time.perf_counter`, which threads share."""

    body: dict[str, Any]
    arrived: float
    pieces: list[float] = field(default_factory=list)


@dataclass
class SlowServer:
    """first_s: until an answer's first piece; gap_s: between its four pieces."""

    first_s: float
    gap_s: float
    base_url: str = ""
    seen: list[Seen] = field(default_factory=list)
    most_open: int = 0
    #: Answers to requests whose max_tokens is a key, instead of a stream.
    raw: dict[int, bytes] = field(default_factory=dict)
    _open: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
            await writer.drain()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET"):
            content = json.dumps({"data": [{"id": "slow"}]})
            writer.write(_response("application/json", content.encode()))
            return
        length = int(head.lower().split("content-length:")[1].split()[0])
        seen = Seen(json.loads(await reader.readexactly(length)), time.perf_counter())
        self.seen.append(seen)
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        async with self._one_at_a_time:
            await self._stream(seen, writer)
        self._open -= 1

    async def _stream(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.body["max_tokens"] in self.raw:
            writer.write(self.raw[seen.body["max_tokens"]])
            return
        writer.write(_head("text/event-stream"))
        for i in range(4):
            await asyncio.sleep(self.gap_s if i else self.first_s)
            seen.pieces.append(time.perf_counter())
            ends = "stop" if i == 3 else None
            choice = {"index": 0, "delta": {"content": f"{i} "}, "finish_reason": ends}
            writer.write(event({"choices": [choice]}))
            await writer.drain()
        usage = {"prompt_tokens": 7, "completion_tokens": 4}
        writer.write(event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")

    def __post_init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()


def event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def _head(kind: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()


def _response(kind: str, content: bytes) -> bytes:
    return _head(kind) + content


def refusal(status: str) -> bytes:
    """What `raw` may hold: an answer with an error's status."""
    return _head("application/json", status) + b'{"error": {"message": "no room"}}'


def cut_stream() -> bytes:
    """What `raw` may hold: a stream that ends in the middle."""
    choice = {"index": 0, "delta": {"content": "and"}, "finish_reason": None}
    return stream(event({"choices": [choice]}))


def stream(events: bytes) -> bytes:
    """What `raw` may hold: a stream of just these."""
    return _head("text/event-stream") + events


@contextmanager
def slow_server(first_s: float, gap_s: float = 0.0) -> Iterator[SlowServer]:
    """Runs in a thread with an event loop of its own."""
    server = SlowServer(first_s, gap_s)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def run() -> None:
        listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
        server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        ready.set()
        await stopped.wait()
        listening.close()
        unfinished = asyncio.all_tasks() - {asyncio.current_task()}
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await asyncio.sleep(0.01)  # sockets are closed in the next round

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()
