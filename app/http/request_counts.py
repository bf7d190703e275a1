"""Counts a server's requests by path and status, for its metrics."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...core.observe.http_metrics import HttpMetrics
from .background import is_background


class RequestCounts:
    """ASGI middleware, outside of all that may answer. routes: of the API, whose paths are told
    from each other."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics, routes: Sequence[Route]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or is_background(Request(scope)):
            await self._app(scope, receive, send)
            return
        matching = (r.path for r in self._routes if r.matches(scope)[0] is not Match.NONE)
        handler = next(matching, "none")

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count(scope["method"], handler, message["status"])
            await send(message)

        await self._app(scope, receive, counted_send)
