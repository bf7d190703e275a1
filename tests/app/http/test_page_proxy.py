"""Requests that are passed on to the page's process: whole, as they come, and no further than they
may. A server without Gradio stands for that process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from octavo.app.http.open_requests import OpenRequests
from octavo.app.http.pages.page_proxy import PageProxy
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MAX_BODY = 2**20
MAX_UPLOAD = 3 * 2**20
Scenario = Callable[[httpx.AsyncClient, "Page"], Awaitable[None]]


class Page:
    """What stands for the page's process, and the proxy before it."""

    def __init__(self, folder: Path) -> None:
        self.socket = str(folder / "socket")
        self.is_ready, self.is_hopeless, self.seconds_to_start = True, False, 7
        self.left = asyncio.Event()
        self.go_on = asyncio.Event()
        self.proxy = PageProxy(self, MAX_BODY, MAX_UPLOAD)  # type: ignore[arg-type]
        self.app = Starlette(
            routes=[
                Route("/ui/echo", self.echo, methods=["GET", "POST"]),
                Route("/ui/gradio_api/upload", self.echo, methods=["POST"]),
                Route("/ui/events", self.events),
            ]
        )

    async def echo(self, http: Request) -> Response:
        body = (await http.body()).decode()
        headers = [(k.decode(), v.decode()) for k, v in http.headers.raw]
        told = {"url": str(http.url), "headers": headers, "body": body}
        return JSONResponse(told, headers={"Connection": "x-own", "X-Own": "1", "X-Other": "2"})

    async def events(self, http: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"data: first\n\n"
                await self.go_on.wait()
                yield b"data: second\n\n"
            finally:
                self.left.set()

        return StreamingResponse(pieces(), media_type="text/event-stream")


@asynccontextmanager
async def served(app: Any, **where: Any) -> AsyncIterator[uvicorn.Server]:
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1, **where)
    )
    serving = asyncio.ensure_future(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await serving


def run(folder: Path, scenario: Scenario) -> None:
    async def all_of_it() -> None:
        page = Page(folder)
        async with (
            served(page.app, uds=page.socket),
            served(OpenRequests(page.proxy), port=0) as front,
        ):
            port = front.servers[0].sockets[0].getsockname()[1]
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, timeout=60) as client:
                await scenario(client, page)
        await page.proxy.close()

    asyncio.run(all_of_it())


def test_what_is_sent_comes_whole_without_the_connections_headers(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, page: Page) -> None:
        headers = {"Host": "example.com:81", "Connection": "x-mine", "X-Mine": "1", "X-Two": "2"}

        async def pieces() -> AsyncIterator[bytes]:
            yield b"one "
            yield b"two"

        answer = await client.post("/ui/echo?a=%2F&b", headers=headers, content=pieces())
        told = answer.json()
        assert told["url"] == "http://example.com:81/ui/echo?a=%2F&b"
        assert told["body"] == "one two"
        names = [name.lower() for name, _ in told["headers"]]
        assert "x-two" in names
        assert "x-mine" not in names
        assert answer.headers["x-other"] == "2"
        assert "x-own" not in answer.headers
        assert (await client.head("/ui/echo")).status_code == 200

    run(tmp_path, scenario)


def test_events_come_one_by_one_and_end_with_their_reader(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, page: Page) -> None:
        async with client.stream("GET", "/ui/events") as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "data: first"
            assert not page.go_on.is_set()
            page.go_on.set()
            assert [line async for line in lines if line] == ["data: second"]
        page.left.clear()
        page.go_on.clear()
        async with client.stream("GET", "/ui/events") as answer:
            assert await anext(answer.aiter_lines()) == "data: first"
        await asyncio.wait_for(page.left.wait(), 240)

    run(tmp_path, scenario)


def test_visitors_are_sent_away_at_the_end(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, page: Page) -> None:
        async with client.stream("GET", "/ui/events") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            page.proxy.cut()
            assert [line async for line in lines if line] == []
        assert (await client.get("/ui/echo")).status_code == 503

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("path", "most"), [("/ui/echo", MAX_BODY), ("/ui/gradio_api/upload", MAX_UPLOAD)]
)
@pytest.mark.parametrize("length_is_told", [True, False])
def test_a_body_that_is_too_large(
    tmp_path: Path, length_is_told: bool, path: str, most: int
) -> None:
    async def scenario(client: httpx.AsyncClient, page: Page) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield bytes(most // 10)

        content = bytes(most + 1) if length_is_told else pieces()
        answer = await client.post(path, content=content)
        assert answer.status_code == 413
        assert answer.text.startswith(f"What is sent at once is larger than {most >> 20} MiB")
        assert (await client.post(path, content=b"1" * most)).status_code == 200

    run(tmp_path, scenario)


def test_a_page_that_is_not_there_is_waited_for_by_the_browser(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, page: Page) -> None:
        html = {"Accept": "text/html,*/*"}
        page.is_ready = False
        answer = await client.get("/ui", headers=html)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "The page is starting" in answer.text
        assert 'http-equiv="refresh" content="1"' in answer.text
        assert (await client.post("/ui/echo")).text.startswith("The page is starting")
        page.is_hopeless = True
        answer = await client.get("/ui", headers=html)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        assert "tries again in 7 s" in answer.text
        assert "refresh" not in answer.text
        # It has died, which is not known yet.
        page.is_ready, page.is_hopeless = True, False
        Path(page.socket).rename(tmp_path / "gone")
        assert "The page is starting" in (await client.get("/ui", headers=html)).text
        Path(tmp_path / "gone").rename(page.socket)

    run(tmp_path, scenario)
