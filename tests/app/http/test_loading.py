"""A server answers from the moment it has its port: with 503 until its model is there."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from octavo.app.http.listen import ListenConfig, run_app
from octavo.app.http.loading import LoadedApp, LoadingApp
from octavo.app.http.stop_signals import StopSignals
from octavo.core.protocol.config import ConfigError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def found(request: Request) -> PlainTextResponse:
    return PlainTextResponse("found")


APP = Starlette(routes=[Route("/{path:path}", found, methods=["GET", "POST"])])


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def test_what_is_waited_for_is_told_and_then_served(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        loading, signals, release = LoadingApp("toy"), StopSignals(), asyncio.Event()

        @asynccontextmanager
        async def load() -> AsyncIterator[LoadedApp]:
            with loading.waiting_for("the weights"), loading.waiting_for("pictures"):
                await release.wait()
            yield LoadedApp(APP, lambda: None, ("/v1/see", '{"a": 1}'))

        sock = bound()
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        listen = ListenConfig([sock], 1, 1.0, None)
        serving = asyncio.ensure_future(run_app(loading, load, listen, signals))
        async with httpx.AsyncClient(base_url=base) as client:
            await asyncio.sleep(0)
            health = await client.get("/health")
            assert (health.status_code, health.headers["Retry-After"]) == (503, "2")
            waiting_for = ["the weights", "pictures"]
            assert health.json() == {"status": "loading", "waiting_for": waiting_for}
            assert (await client.post("/ping")).json() == health.json()
            assert (await client.get("/health/ready")).json() == health.json()
            live = await client.get("/health/live")
            assert (live.status_code, live.json()) == (200, {"status": "ok"})
            refused = await client.post("/v1/chat/completions", json={"messages": []})
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
            assert refused.json()["error"]["code"] == "loading"
            assert refused.headers["X-Request-Id"]
            for what in ("toy is loading", *waiting_for):
                assert what in refused.json()["error"]["message"]
            message = refused.json()["error"]["message"]
            refused = await client.post("/v1/messages", json={"messages": []})
            request_id = refused.headers["Request-Id"]
            error = {"type": "overloaded_error", "message": message}
            assert refused.json() == {"type": "error", "error": error, "request_id": request_id}
            assert (await client.post("/api/chat", json={})).json() == {"error": message}
            assert not signals.is_serving
            release.set()
            while (answer := await client.get("/health")).status_code == 503:
                await asyncio.sleep(0.01)
            assert answer.text == "found"
        signals.stop.set()
        assert await serving
        said = [record.getMessage() for record in caplog.records]
        ready = next(line for line in said if line.startswith(f"serving toy on {base}, ready"))
        tried = said[said.index(ready) + 1]
        assert tried.startswith(f"try: curl {base}/v1/see ")
        assert tried.endswith("-d '{\"a\": 1}'")

    caplog.set_level("INFO")
    asyncio.run(scenario())


def test_what_stops_the_loading_is_raised() -> None:
    @asynccontextmanager
    async def load() -> AsyncIterator[LoadedApp]:
        raise ConfigError("no such model")
        yield

    async def scenario() -> None:
        listen = ListenConfig([bound()], 1, 1.0, None)
        with pytest.raises(ConfigError, match="no such model"):
            await run_app(LoadingApp("toy"), load, listen, StopSignals())

    asyncio.run(scenario())


def test_a_server_answers_while_its_model_is_looked_for_on_a_hub(tmp_path: Path) -> None:
    """The hub takes the connection, and its time."""
    with socket.create_server(("127.0.0.1", 0)) as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}",
            "HF_HOME": str(tmp_path),
        }
        command = [sys.executable, "-m", "octavo", "serve", "some/model", "--port"]
        port = free_port()
        with subprocess.Popen([*command, str(port)], env=environment) as server:
            try:
                hub.settimeout(60)
                asked, _ = hub.accept()
                health = httpx.get(f"http://127.0.0.1:{port}/health")
                asked.close()
            finally:
                server.kill()
    assert health.status_code == 503
    assert health.json()["waiting_for"] == ["the model's files"]


def free_port() -> int:
    with bound() as sock:
        port: int = sock.getsockname()[1]
    return port
