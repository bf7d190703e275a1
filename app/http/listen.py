"""Where a server listens, and running an application there."""

from __future__ import annotations

from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette


@dataclass(frozen=True)
class ListenConfig:
    """max_body_bytes: of one request."""

    host: str
    port: int
    max_body_bytes: int


async def run_app(app: Starlette, listen: ListenConfig) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(app, host=listen.host, port=listen.port, log_level="info")
    await uvicorn.Server(config).serve()
