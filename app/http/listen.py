"""Where a server listens, and running an application there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette

from .half_closed import HalfClosedProtocol

_SWITCH_INTERVAL_S = 0.001
#: What open requests have to end, once the server is told to.
_SHUTDOWN_S = 10


@dataclass(frozen=True)
class ListenConfig:
    """max_body_bytes: of one request. allowed_origins: of web pages that may use the API from a
    browser; "*" is any."""

    host: str
    port: int
    max_body_bytes: int
    allowed_origins: tuple[str, ...] = ()


async def run_app(app: Starlette, listen: ListenConfig) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(
        app,
        host=listen.host,
        port=listen.port,
        http=HalfClosedProtocol,
        log_level="info",
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    await uvicorn.Server(config).serve()


def run_until_interrupted(server: Coroutine[Any, Any, None]) -> None:
    """Run a server in an event loop of its own."""
    # So that the event loop need not wait long for threads that read large requests.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        asyncio.run(server)
    except KeyboardInterrupt:
        return  # uvicorn has shut down and passes on what interrupted it
