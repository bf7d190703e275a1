"""Which requests are logged. What a client sends can't end a line of the log, nor paint the
terminal that shows it."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from octavo.app.http.listen import ListenConfig, run_app
from octavo.app.http.loading import LoadedApp, LoadingApp
from octavo.app.http.stop_signals import StopSignals
from octavo.core.system.log_format import LineFormatter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HOSTILE = "\u2028\x1b[31m\x85\u202e"
AS_HEADER = HOSTILE.encode()
PERCENT = "".join(f"%{byte:02x}" for byte in AS_HEADER)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """As every process writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("%(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    yield written
    root.setLevel(level)
    root.removeHandler(handler)


async def answers(*heads: bytes, access_log: str = "answers") -> list[bytes]:
    """The first line of each answer, of a server that has every path."""

    async def found(request: Request) -> Response:
        return Response()

    signals = StopSignals()
    app = Starlette(routes=[Route("/{path:path}", found)])
    lines = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listen = ListenConfig([sock], 1, 1.0, None, access_log=access_log)
        is_open = asyncio.Event()

        @asynccontextmanager
        async def load() -> AsyncIterator[LoadedApp]:
            asyncio.get_running_loop().call_soon(is_open.set)
            yield LoadedApp(app, lambda: None)

        serving = asyncio.ensure_future(run_app(LoadingApp("toy"), load, listen, signals))
        await is_open.wait()
        for head in heads:
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            writer.write(head + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            lines.append(await reader.readline())
            writer.close()
        signals.stop.set()
        await serving
    return lines


def test_paths_queries_and_forwarded_addresses(
    log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = asyncio.run(
        answers(
            f"GET /path{PERCENT}?{PERCENT} HTTP/1.1".encode(),
            b"GET /x HTTP/1.1\r\nX-Forwarded-For: forwarded" + AS_HEADER,
            f"GET /raw{HOSTILE} HTTP/1.1".encode(),
        )
    )
    assert [line.split()[1] for line in lines] == [b"200", b"200", b"400"]
    written = log.getvalue()
    assert "uvicorn.access: " in written
    assert '"GET /path%' in written
    assert r"forwardedâ\x80¨\x1b[31mÂ\x85" in written
    everything = "".join((written, *capfd.readouterr()))
    assert not set(everything) & {*HOSTILE[:2], "\x80", "\x85", "\u202e"}
    assert everything.count("\n") == len(everything.splitlines())


@pytest.mark.parametrize(
    ("access_log", "paths"),
    [
        ("answers", ["/healthy", "/v1/models?x=/health", "/"]),
        ("all", ["/health", "/ping", "/healthy", "/metrics?x", "/v1/models?x=/health", "/"]),
        ("none", []),
    ],
)
def test_what_is_polled_is_left_out(access_log: str, paths: list[str], log: io.StringIO) -> None:
    asked = ["/health", "/ping", "/healthy", "/metrics?x", "/v1/models?x=/health", "/"]
    heads = [f"GET {path} HTTP/1.1".encode() for path in asked]
    asyncio.run(answers(*heads, access_log=access_log))
    lines = [line for line in log.getvalue().splitlines() if "uvicorn.access" in line]
    assert [line.split('"')[1].split()[1] for line in lines] == paths
