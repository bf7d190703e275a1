"""What a server answers while its model loads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import error_body, error_response
from .middleware import middleware

logger = logging.getLogger(__name__)

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_RETRY_AFTER_S = 2


@dataclass(frozen=True)
class LoadedApp:
    """An application whose model is ready.

    cut: ends the answers that have begun, so that their clients are told. drain: ends what no
    client waits for, when the server is told to stop. example: the body of a
    request, in JSON, that shows what the server does, and its path. alive: whether it can be asked
    now. asks_key: whether it answers only who has an API key.
    """

    app: ASGIApp
    cut: Callable[[], None]
    example: tuple[str, str] | None = None
    alive: Callable[[], bool] = lambda: True
    drain: Callable[[], None] = lambda: None
    asks_key: bool = False

    def curl(self, address: str) -> str:
        """The example as one types it. address: the server's, without a path."""
        assert self.example is not None
        path, body = self.example
        key = " -H 'Authorization: Bearer KEY'" if self.asks_key else ""
        return f"curl {address}{path} -H 'Content-Type: application/json'{key} -d '{body}'"


async def answer_alive(request: Request) -> Response:
    """GET /health/live: 200 as long as the process answers, whether it can take requests or not."""
    return JSONResponse({"status": "ok"})


class LoadingApp:
    """An ASGI application that refuses requests with 503 until there is one to pass them to.

    model_name: by which clients know the model. allowed_origins: see ListenConfig.
    """

    def __init__(self, model_name: str, allowed_origins: Sequence[str] = ()) -> None:
        self.model_name = model_name
        self.loaded: LoadedApp | None = None
        self._started = time.monotonic()
        self._waiting_for: list[str] = []
        self._app: ASGIApp = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/health/ready", self._health),
                Route("/health/live", answer_alive),
                Route("/ping", self._health, methods=["GET", "POST"]),
                Route("/{path:path}", self._refuse, methods=_METHODS),
            ],
            middleware=middleware(allowed_origins),
        )

    @contextmanager
    def waiting_for(self, what: str) -> Iterator[None]:
        """Tell clients that this is not there yet."""
        self._waiting_for.append(what)
        try:
            yield
        finally:
            self._waiting_for.remove(what)

    @property
    def awaited(self) -> str:
        """What is not there yet, in words."""
        return ", ".join(self._waiting_for) or "the model"

    def open(self, loaded: LoadedApp) -> float:
        """Pass all further requests on; returns the seconds that loading took."""
        self.loaded = loaded
        self._app = loaded.app
        return time.monotonic() - self._started

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    async def _health(self, request: Request) -> Response:
        body = {"status": "loading", "waiting_for": self._waiting_for}
        return JSONResponse(body, 503, {"Retry-After": str(_RETRY_AFTER_S)})

    async def _refuse(self, request: Request) -> Response:
        what = f"{self.model_name} is loading and waits for {self.awaited}"
        message = f"{what}; send the request again soon"
        body = error_body(message, "server_error", None, "loading")
        headers = {"Retry-After": str(_RETRY_AFTER_S)}
        return error_response(request.scope, body, 503, headers)
