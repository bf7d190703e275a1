"""Requests for the page, passed on to its process, and its answers passed back as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any

import httpcore
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from ..errors import HttpError
from ..request_body import bounded_chunks, check_length
from .page_path import UPLOAD_PATH
from .page_process import PageProcess
from .waiting_page import waiting_page

#: Of one connection each, as RFC 9110 section 7.6.1 has it; Expect is answered by us.
_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te"),
    *(b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection", b"expect"),
}
#: Requests that run at once, most of them streams of events to visitors who are there.
_MOST_AT_ONCE = 512
#: Seconds. Less than uvicorn's own, which closes what has been idle for 5.
_IDLE_S = 2.0
_TIMEOUT = {"connect": 10.0, "pool": 10.0}
#: The page shows it to who dropped it there.
_TOO_LARGE = "What is sent at once is larger than {} MiB, the most that this server takes."
_STOPPING = "The server is shutting down."

Headers = Iterable[tuple[bytes, bytes]]


class PageProxy:
    """An ASGI application. max_body_bytes: of one request; max_upload_bytes: of one that brings
    files."""

    def __init__(self, process: PageProcess, max_body_bytes: int, max_upload_bytes: int) -> None:
        self._process = process
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes
        self._closing = asyncio.Event()
        self._pool = httpcore.AsyncConnectionPool(
            uds=process.socket, max_connections=_MOST_AT_ONCE, keepalive_expiry=_IDLE_S
        )

    def cut(self) -> None:
        """End all answers, as visitors would stay for ever."""
        self._closing.set()

    async def close(self) -> None:
        """Let connections go."""
        await self._pool.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(Request(scope, receive), send)
        is_upload = scope["path"] == UPLOAD_PATH
        max_bytes = self._max_upload_bytes if is_upload else self._max_body_bytes
        try:
            if not self._process.is_ready:
                await self._say_wait(exchange)
                return
            relay = exchange.relay(self._pool, max_bytes)
            await _until_first(relay, exchange.visitor_left(), self._closing.wait())
        except HttpError as error:
            said = f"{error}."
            if error.status == 413:
                await exchange.drop_body(max_bytes)
                said = _TOO_LARGE.format(max_bytes // 2**20)
            await exchange.answer(PlainTextResponse(said, error.status))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
            await self._say_wait(exchange)
        except ClientDisconnect:
            return
        if self._closing.is_set():
            await exchange.answer(PlainTextResponse(_STOPPING, 503))
        if self._closing.is_set() or exchange.is_of_events:
            await exchange.end()

    async def _say_wait(self, exchange: _Exchange) -> None:
        if not exchange.has_begun:
            await exchange.answer(waiting_page(exchange.http, self._process))


class _Exchange:
    """One request and its answer."""

    def __init__(self, http: Request, send: Send) -> None:
        self.http = http
        self._send = send
        self._is_read = asyncio.Event()
        self._has_ended = False
        self.has_begun = self.is_of_events = False

    async def relay(self, pool: httpcore.AsyncConnectionPool, max_bytes: int) -> None:
        """Pass both on. Raises HttpError for a body that is too large or too slow, and httpcore's
        errors for a process that is gone."""
        check_length(self.http, max_bytes)
        async with pool.stream(
            self.http.method,
            httpcore.URL(scheme="http", host="page", target=self._target()),
            headers=_end_to_end(self.http.headers.raw),
            content=self._body(max_bytes) if self._has_body() else None,
            extensions={"timeout": _TIMEOUT},
        ) as response:
            self._is_read.set()
            headers = _end_to_end(response.headers)
            self.is_of_events = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in headers
            )
            self.has_begun = True
            await self._send(
                {"type": "http.response.start", "status": response.status, "headers": headers}
            )
            async for piece in response.aiter_stream():
                await self._send_piece(piece, more=True)
        await self._send_piece(b"", more=False)

    async def visitor_left(self) -> None:
        """Wait for that."""
        if not self._has_body():
            self._is_read.set()
        await self._is_read.wait()
        while (await self.http.receive())["type"] != "http.disconnect":
            pass

    async def drop_body(self, max_bytes: int) -> None:
        """Read on for a while, as browsers look for an answer only once they have sent all."""
        # RuntimeError: there is no more of it.
        with contextlib.suppress(HttpError, ClientDisconnect, RuntimeError):
            async for _ in bounded_chunks(self.http, 4 * max_bytes):
                pass

    async def answer(self, response: Any) -> None:
        """With something of our own, if nothing has been answered."""
        if not self.has_begun:
            self.has_begun = self._has_ended = True
            await response(self.http.scope, self.http.receive, self._send)

    async def end(self) -> None:
        """Where an answer is cut, so that it ends in order."""
        if self.has_begun and not self._has_ended:
            await self._send_piece(b"", more=False)

    async def _send_piece(self, piece: bytes, more: bool) -> None:
        self._has_ended = not more
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    def _target(self) -> bytes:
        path: bytes = self.http.scope.get("raw_path") or self.http.scope["path"].encode()
        query: bytes = self.http.scope["query_string"]
        return path + b"?" + query if query else path

    def _has_body(self) -> bool:
        headers = self.http.headers
        return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    async def _body(self, max_bytes: int) -> AsyncGenerator[bytes]:
        async for piece in bounded_chunks(self.http, max_bytes):
            yield piece
        self._is_read.set()


def _end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Without those of one connection."""
    headers = list(headers)
    named = {
        word.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for word in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name.lower() not in dropped]


async def _until_first(*work: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first to end, or to fail, which is raised; the others are cancelled."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
