"""Gives each request an id, by which a failure of the server is found in its log."""

from __future__ import annotations

import logging
import uuid

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...core.system.log_context import about_requests
from .error_shapes import asks_for_messages
from .errors import error_body, error_response

logger = logging.getLogger(__name__)

_HEADER = "X-Request-Id"
#: Where Anthropic's clients look for it.
_HEADER_OF_MESSAGES = "Request-Id"
_KIND = "req"


class RequestIds:
    """ASGI middleware: each answer has the id in its header X-Request-Id, which OpenAI's clients
    show, and so has each line of the log that is about the request; what no handler of errors
    knows is logged, and answered with 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"{_KIND}-{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers[_HEADER] = request_id
                if asks_for_messages(scope):
                    headers[_HEADER_OF_MESSAGES] = request_id
            await send(message)

        with about_requests(request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                if started:  # too late for a status; the connection is cut
                    raise
                response = error_response(scope, unexpected(Request(scope), error), 500)
                await response(scope, receive, send_with_id)


def answer_id(request: Request, kind: str) -> str:
    """The id of what answers a request: its own, but for the kind that it begins with."""
    request_id: str = request.state.request_id
    return kind + request_id.removeprefix(_KIND)


def unexpected(request: Request, error: Exception) -> dict[str, object]:
    """The body that tells a client of a failure of the server itself, which is logged here."""
    request_id = request.state.request_id
    logger.error("request %s failed", request_id, exc_info=error)
    message = f"the server failed on this request; its log says why under {request_id}"
    return error_body(message, "server_error", None, "internal_error")
