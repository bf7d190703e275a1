"""A server of the page alone, about a server elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import EXCEPTION_HANDLERS
from .listen import ListenConfig, run_app, run_until_stopped
from .loading import LoadedApp, LoadingApp


def serve_page(base_url: str, listen: ListenConfig) -> int:
    """Serve it until told to stop; returns the exit status. base_url: of the other server, as the
    log names it. listen: with a page."""
    loading = LoadingApp(f"a page about {base_url}")
    return run_until_stopped(lambda signals: run_app(loading, _load, listen, signals))


@asynccontextmanager
async def _load() -> AsyncIterator[LoadedApp]:
    app = Starlette(routes=[Route("/health", _health)], exception_handlers=EXCEPTION_HANDLERS)
    yield LoadedApp(app, lambda: None)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})
