"""Requests that the server sends itself, for its batches: they have what online ones leave."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message

from ..batches.answers import Answer

_FLAG = "background"
_OWNER = "batch_owner"
#: With which an answer says that the same request will be refused again.
_SHOULD_RETRY = (b"x-should-retry", b"false")


def is_background(http: Request) -> bool:
    """Whether a request is one of these."""
    return bool(http.scope.get("state", {}).get(_FLAG))


def owner_of(http: Request) -> str:
    """The name of the API key whose batch one of these belongs to; nothing if it has none."""
    owner: str = http.scope["state"][_OWNER]
    return owner


class BackgroundRequests:
    """Asks an application as a client would, without a connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, path: str, body: bytes, owner: str = "") -> Answer:
        """The whole answer to a POST of JSON. owner: the name of the API key for which it is asked.
        Cancelling it is as a client's leaving."""
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ],
            "client": None,
            "server": None,
            "state": {_FLAG: True, _OWNER: owner},
        }
        exchange = _Exchange(body)
        await self._app(scope, exchange.receive, exchange.send)
        request_id = scope["state"]["request_id"]
        return Answer(exchange.status, request_id, bytes(exchange.answer), exchange.is_final)


class _Exchange:
    """The messages of one request."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.status = 0
        self.is_final = False
        self.answer = bytearray()

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            await asyncio.Event().wait()  # for a client that never leaves
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.is_final = _SHOULD_RETRY in message["headers"]
        else:
            self.answer += message.get("body", b"")
