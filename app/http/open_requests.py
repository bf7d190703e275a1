"""The requests that a server is answering: their bodies must come in time, and they can be cut."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import HttpError, error_body, error_response

#: A body may take so long, and a second more for so many bytes of it that have come.
BODY_TIMEOUT_S = 30.0
_LEAST_BYTES_PER_S = 500
_STOPPING = "the server is shutting down; send the request to another, or again later"


class OpenRequests:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: dict[asyncio.Task[Any], _OpenRequest] = {}
        self._is_cut = False
        self._none = asyncio.Event()
        #: Requests that were open when they were cut.
        self.num_cut = 0

    @property
    def num_open(self) -> int:
        """Requests whose answers are not complete."""
        return len(self._open)

    async def until_none(self) -> None:
        """Wait until none is open."""
        while self._open:
            self._none.clear()
            await self._none.wait()

    def cut(self) -> None:
        """Answer all that have no answer yet with 503; those that come, too. An answer that has
        begun is its author's to end."""
        self._is_cut = True
        self.num_cut = self.num_open
        for task, request in self._open.items():
            if not request.has_begun:
                task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self._app(scope, receive, send)
            return
        request = _OpenRequest(receive, send)
        self._open[task] = request
        try:
            if self._is_cut:
                raise asyncio.CancelledError
            await self._app(scope, request.receive, request.send)
        except asyncio.CancelledError:
            if not self._is_cut:
                raise
            if not request.has_begun:
                body = error_body(_STOPPING, "server_error", None, "shutting_down")
                answer = error_response(scope, body, 503, {"Retry-After": "1"})
                await answer(scope, receive, request.send)
        finally:
            del self._open[task]
            if not self._open:
                self._none.set()


class _OpenRequest:
    """One request's messages."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_S
        self._is_read = self._is_late = False
        self.has_begun = False

    async def receive(self) -> Message:
        """The next piece of the body, or, after it, that the client is gone.

        Raises HttpError if a piece does not come in time.
        """
        if self._is_read:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            self._is_late = True
            raise HttpError(408, "the request's body did not come in time") from error
        self._deadline += len(message.get("body", b"")) / _LEAST_BYTES_PER_S
        self._is_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            if self._is_late:
                # The rest of the body would be taken for another request.
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await self._send(message)
