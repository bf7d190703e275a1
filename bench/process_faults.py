"""Every process of a server stopped, killed and terminated, at every stage.

    python -m octavo.bench.process_faults [--rounds N] [--embedding-model MODEL]
        [--process NAME ...] [--stage STAGE ...]

Prints a table: what became of the server, the slowest return to service, the clients that were
not told, and the processes that were left 5 s after the server's end. Exits with 1 if a bound is
missed, a client is not told or a process is left. A server that is stopped is killed 2 s later,
as a supervisor does it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..app.table import print_table
from ..core.media_pool.pool_size import PoolSize
from .machine import describe_machine
from .peers.process_tree import process_tree
from .server_process import ServerProcess, chat_request

_STALL_S = 5.0
#: A supervisor's patience with a server that is stopped.
_SUPERVISOR_S = 2.0
_ORPHAN_S = 5.0
#: From a fault to service again, beyond what it takes to notice: a start on a busy machine.
_RESTART_BOUND_S = 60.0
_DRAIN_S = 2.0
_SIGNALS = (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM)
_STAGES = ("loading", "idle", "load")
#: By what their command lines hold; a picture worker is the host's child.
_MODULES = {
    "engine": b"core.client.engine_process",
    "embedder": b"core.embedding.embedding_process",
    "media host": b"core.media_pool.host",
}
_OF_CHATS = ("server", "engine", "media host", "picture worker")
_OF_EMBEDDINGS = ("server", "embedder")
_ROUNDS_OF_CLIENTS = 3
_ARGUMENTS = (
    "--dtype=float32",
    "--kv-cache-memory=64MiB",
    f"--engine-stall-timeout={_STALL_S:g}",
    f"--drain-timeout={_DRAIN_S:g}",
)


@dataclass
class Outcome:
    """What a fault at one process and stage led to, in all rounds. seconds: until service again,
    or the server's end. told, untold: clients. left: processes."""

    process: str
    stage: str
    signal: signal.Signals
    became: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    told: int = 0
    untold: int = 0
    left: int = 0

    @property
    def bound(self) -> float:
        """Seconds that it may take."""
        if self.process == "server":
            return _DRAIN_S + 10.0 if self.signal == signal.SIGTERM else _SUPERVISOR_S + 1.0
        notice = 0.0
        if self.signal == signal.SIGSTOP:
            # A picture's own time, for a worker; a process that loads or serves is watched.
            is_worker = self.process == "picture worker"
            notice = PoolSize.timeout if is_worker else 2 * _STALL_S
        return notice + _RESTART_BOUND_S

    @property
    def is_good(self) -> bool:
        """Whether everything that is promised held."""
        return not self.untold and not self.left and max(self.seconds) <= self.bound

    def row(self) -> list[str]:
        """For the table."""
        became = ", ".join(f"{count}x {what}" for what, count in self.became.most_common())
        slowest = f"{max(self.seconds):.1f} of {self.bound:.0f} s"
        verdict = "yes" if self.is_good else "NO"
        told = f"{self.told} / {self.untold}"
        return [
            self.process,
            self.stage,
            self.signal.name,
            became,
            slowest,
            told,
            str(self.left),
            verdict,
        ]


_COLUMNS = ("process", "stage", "signal", "became", "slowest", "told / not told", "left", "good")


#: A path and a body.
Ask = tuple[str, dict[str, Any]]


class Faults:
    """Makes faults in servers with these arguments. asks: what their clients ask, each kind once,
    with new pictures for each number that it is given."""

    def __init__(
        self, arguments: Sequence[str], asks: Callable[[int], list[Ask]], seed: int
    ) -> None:
        self._arguments = arguments
        self._asks = asks
        self._num_asked = 0
        self._rng = random.Random(seed)
        self._server: ServerProcess | None = None

    async def run(self, process: str, stage: str, number: signal.Signals, rounds: int) -> Outcome:
        """The same fault so many times."""
        outcome = Outcome(process, stage, number)
        for _ in range(rounds):
            if stage == "loading" or self._server is None:
                await self._replace(outcome if stage == "loading" else None)
            assert self._server is not None
            await self._fault(self._server, outcome)
        return outcome

    async def close(self) -> None:
        """End what is still running."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _new_asks(self) -> list[Ask]:
        self._num_asked += 1
        return self._asks(self._num_asked)

    async def _replace(self, loading: Outcome | None) -> None:
        await self.close()
        self._server = ServerProcess(*self._arguments)
        if loading is None:
            await self._server.until_healthy()
            # So that there are workers.
            await self._serves_all(self._server)
            return
        while _find(self._server, loading.process) is None:
            await asyncio.sleep(0.02)
        await asyncio.sleep(self._rng.uniform(0, 3))

    async def _fault(self, server: ServerProcess, outcome: Outcome) -> None:
        clients: list[asyncio.Task[str]] = []
        if outcome.stage == "load":
            patience = outcome.bound + _RESTART_BOUND_S
            clients = [
                asyncio.ensure_future(_ask(server, path, body, patience))
                for _ in range(_ROUNDS_OF_CLIENTS)
                for path, body in self._new_asks()
            ]
            await asyncio.sleep(self._rng.uniform(0.2, 1.0))
        family = process_tree(server.process.pid)
        victim = _find(server, outcome.process)
        if victim is None:
            outcome.became["not there"] += 1
        else:
            os.kill(victim, outcome.signal)
        started = time.monotonic()
        if outcome.process == "server":
            await self._end_of(server, outcome)
        else:
            await self._service_of(server, victim, outcome)
        outcome.seconds.append(time.monotonic() - started)
        # A server that is gone can say nothing more, and its clients see that.
        enough = ["an answer", "a cut"] if outcome.process == "server" else ["an answer"]
        for got in await asyncio.gather(*clients):
            outcome.told += got in enough
            outcome.untold += got not in enough
        if server.process.poll() is not None:
            outcome.left += await _left_of(family)
            server.stop()
            self._server = None

    async def _end_of(self, server: ServerProcess, outcome: Outcome) -> None:
        if outcome.signal == signal.SIGSTOP:
            await asyncio.sleep(_SUPERVISOR_S)
            server.process.kill()
        status = await asyncio.to_thread(server.process.wait)
        outcome.became[f"ended with {status}"] += 1

    async def _service_of(
        self, server: ServerProcess, victim: int | None, outcome: Outcome
    ) -> None:
        """Wait until the victim is gone and all is served again, or the server has ended."""
        deadline = time.monotonic() + 2 * outcome.bound
        while time.monotonic() < deadline:
            if server.process.poll() is not None:
                outcome.became[f"ended with {server.process.returncode}"] += 1
                return
            serves = await self._serves_all(server)
            if serves and (victim is None or not _is_running(victim)):
                outcome.became["serves"] += 1
                return
            await asyncio.sleep(0.1)
        outcome.became["hangs"] += 1
        server.process.kill()
        server.process.wait()

    async def _serves_all(self, server: ServerProcess) -> bool:
        try:
            answers = [
                await server.ask(_request(path, _short(body)), _RESTART_BOUND_S)
                for path, body in self._new_asks()
            ]
        except ConnectionError:
            return False
        return all(b" 200 " in answer[:20] and b'"error"' not in answer for answer in answers)


def _find(server: ServerProcess, process: str) -> int | None:
    if process == "server":
        return server.process.pid
    tree = process_tree(server.process.pid)[1:]
    if process != "picture worker":
        return next((pid for pid in tree if _MODULES[process] in _command(pid)), None)
    host = _find(server, "media host")
    workers = process_tree(host)[1:] if host is not None else []
    # The newest reads pictures, the oldest headers.
    return workers[-1] if workers else None


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def _left_of(family: Sequence[int]) -> int:
    """How many of a server's processes still run, 5 s after its end."""
    deadline = time.monotonic() + _ORPHAN_S
    while (left := sum(map(_is_running, family))) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return left


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _ask(server: ServerProcess, path: str, body: dict[str, Any], patience: float) -> str:
    """What a client gets: "an answer", good or bad, if it is whole; "a cut" if the connection ends
    before; "nothing" if it waits in vain."""
    try:
        async with asyncio.timeout(patience):
            answer = await server.ask(_request(path, body))
    except ConnectionError:
        return "a cut"
    except TimeoutError:
        return "nothing"
    head, _, content = answer.partition(b"\r\n\r\n")
    if b"event-stream" in head:
        return "an answer" if b"[DONE]" in content or b'"error"' in content else "a cut"
    return "an answer" if content.endswith(b"}") else "a cut"


def _request(path: str, body: dict[str, Any]) -> str:
    return chat_request(body).replace("/v1/chat/completions", path, 1)


def _picture(seed: int) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def _short(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "max_tokens": 1} if "max_tokens" in body else body


def _chats(number: int) -> list[Ask]:
    """A stream, a whole answer, and one about a picture; long enough for a fault to find them."""
    text = {"type": "text", "text": f"What is this, {number}?"}
    asks = []
    for i, content in enumerate(([text], [text], [_picture(number), text])):
        body = {"messages": [{"role": "user", "content": content}], "stream": i == 0}
        body |= {"max_tokens": 600, "ignore_eos": True}
        asks.append(("/v1/chat/completions", body))
    return asks


def _embeddings(number: int) -> list[Ask]:
    return [
        ("/v1/embeddings", {"input": [f"a dog, {number}"] * 500}),
        ("/v1/embeddings", {"input": [_picture(number)]}),
    ]


def _places(names: Sequence[str], options: argparse.Namespace) -> list[tuple[str, str]]:
    """Processes of these and stages that were asked for."""
    return [
        (process, stage)
        for process in names
        for stage in options.stage or _STAGES
        if process in (options.process or names)
        # There is none yet.
        and (process, stage) != ("picture worker", "loading")
    ]


async def main(options: argparse.Namespace) -> bool:
    """Returns whether everything that is promised held."""
    print(describe_machine())
    kinds: list[tuple[tuple[str, ...], Callable[[int], list[Ask]], tuple[str, ...]]] = [
        (_ARGUMENTS, _chats, _OF_CHATS)
    ]
    if options.embedding_model is not None:
        kinds.append(((options.embedding_model, *_ARGUMENTS[2:]), _embeddings, _OF_EMBEDDINGS))
    outcomes = []
    for arguments, asks, names in kinds:
        faults = Faults(arguments, asks, seed=0)
        for process, stage in _places(names, options):
            for number in _SIGNALS:
                outcomes.append(await faults.run(process, stage, number, options.rounds))
                print(json.dumps(outcomes[-1].row()), file=sys.stderr, flush=True)
        await faults.close()
    print_table([_COLUMNS, *(outcome.row() for outcome in outcomes)])
    return all(outcome.is_good for outcome in outcomes)


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Of a command line; ends the process with a message for processes and stages that there are
    not, rather than with an empty table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="of each fault")
    parser.add_argument("--embedding-model", help="also try a server of embeddings")
    parser.add_argument(
        "--process",
        action="append",
        default=[],
        choices=dict.fromkeys((*_OF_CHATS, *_OF_EMBEDDINGS)),
        help="only these",
    )
    parser.add_argument("--stage", action="append", default=[], choices=_STAGES, help="only these")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: must be at least 1")
    for process in options.process:
        if process not in _OF_CHATS and options.embedding_model is None:
            parser.error(f"--process {process}: only a server of --embedding-model has one")
        if not _places([process], options):
            parser.error(f"--process {process}: there is none at --stage {options.stage[0]}")
    return options


if __name__ == "__main__":
    good = asyncio.run(main(read_options(sys.argv[1:])))
    sys.exit(0 if good else 1)
