"""The ASGI application, and the command that loads a model and serves it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...core.engine.async_engine import AsyncEngine
from ...core.engine.checkpoint import find_checkpoint
from ...core.engine.config import EngineConfig
from ...core.engine.engine_core import EngineCore
from ...core.engine.errors import EngineDeadError, RequestError, RequestFailedError
from ...core.engine.input_processor import InputProcessor
from ...core.registry import get_registry
from .chat_completions import chat_completions
from .errors import (
    HttpError,
    error_body,
    handle_disconnect,
    handle_http_error,
    handle_not_found,
    handle_request_error,
    handle_unavailable,
)
from .state import ServerState


async def health(request: Request) -> Response:
    """GET /health: 200 while requests can be taken."""
    server: ServerState = request.app.state.server
    if not server.engine.healthy:
        return JSONResponse(
            error_body("the engine has stopped", "server_error", None, None), status_code=503
        )
    return JSONResponse({"status": "ok", "num_free_blocks": server.engine.num_free_blocks})


async def list_models(request: Request) -> Response:
    """GET /v1/models."""
    server: ServerState = request.app.state.server
    model = {
        "id": server.model_name,
        "object": "model",
        "created": server.started,
        "owned_by": "octavo",
        "max_model_len": server.engine.limits.max_model_len,
    }
    return JSONResponse({"object": "list", "data": [model]})


def create_app(config: EngineConfig, model_name: str, max_body_bytes: int) -> Starlette:
    """Load the model and build the application.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded.
    """
    checkpoint = find_checkpoint(config.model)
    registry = get_registry()
    inputs = InputProcessor(checkpoint, registry)
    engine = AsyncEngine(EngineCore(config, checkpoint, registry), inputs.tokenizer)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine.start()
        yield
        await engine.stop()

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", list_models),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        ],
        exception_handlers={
            HttpError: handle_http_error,
            RequestError: handle_request_error,
            EngineDeadError: handle_unavailable,
            RequestFailedError: handle_unavailable,
            ClientDisconnect: handle_disconnect,
            HTTPException: handle_not_found,
        },
        lifespan=lifespan,
    )
    app.state.server = ServerState(
        engine, inputs, model_name, config.max_image_pixels, max_body_bytes, int(time.time())
    )
    return app


def serve(config: EngineConfig, model_name: str, host: str, port: int, max_body_bytes: int) -> None:
    """Load and serve until interrupted."""
    app = create_app(config, model_name, max_body_bytes)
    uvicorn.run(app, host=host, port=port, log_level="info")
