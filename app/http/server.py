"""The ASGI application, and the command that loads a model and serves it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.client.async_engine import AsyncEngine
from ...core.models.model_choice import choose_model
from ...core.observe.metrics import EngineMetrics
from ...core.observe.request_events import RequestEvents
from ...core.process.child_process import Spawned
from ...core.prompts.input_processor import InputProcessor
from ...core.protocol.config import EngineConfig
from ...core.registry.registry import get_registry
from ..serving.intake_config import IntakeConfig
from ..serving.media import ServerMedia
from ..serving.prompt_pool import PromptPool
from .captions import captions
from .chat_completions import chat_completions
from .common_answers import exposition, model_facts, not_served, restarting
from .errors import EXCEPTION_HANDLERS
from .listen import ListenConfig, run_app, run_until_stopped
from .middleware import middleware
from .state import ServerState
from .stop_signals import StopSignals


async def health(request: Request) -> Response:
    """GET /health: 200 while requests can be taken."""
    server: ServerState = request.app.state.server
    if not server.engine.healthy:
        return restarting()
    stats = server.engine.stats
    return JSONResponse(
        {
            "status": "ok",
            "engine_pid": server.engine.pid,
            "num_free_blocks": stats.num_free_blocks,
            "encoder_cache_pinned_bytes": stats.encoder_cache_pinned_bytes,
        }
    )


async def metrics(request: Request) -> Response:
    """GET /metrics, for Prometheus."""
    server: ServerState = request.app.state.server
    server.loader.record(server.engine.stats.store)
    return exposition(server.metrics.registry)


async def list_models(request: Request) -> Response:
    """GET /v1/models, and /v1/models/{id}."""
    server: ServerState = request.app.state.server
    max_model_len = server.limits.max_model_len
    return model_facts(request, server.model_name, server.started, max_model_len=max_model_len)


def create_app(state: ServerState, allowed_origins: Sequence[str] = ()) -> Starlette:
    """The application around a running engine. allowed_origins: see ListenConfig."""
    no_embeddings = not_served(
        f"model {state.model_name!r} gives no embeddings; serve a CLIP or SigLIP model for them"
    )
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/v1/models", list_models),
            Route("/v1/models/{id:path}", list_models),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/v1/captions", captions, methods=["POST"]),
            Route("/v1/embeddings", no_embeddings, methods=["POST"]),
        ],
        middleware=middleware(allowed_origins),
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.state.server = state
    return app


def serve(
    config: EngineConfig,
    intake: IntakeConfig,
    model_name: str,
    listen: ListenConfig,
    child: Spawned,
) -> int:
    """Load and serve until told to stop; returns the exit status. child: the engine's process.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded.
    """
    return run_until_stopped(
        lambda signals: _serve(config, intake, model_name, listen, child, signals)
    )


async def _serve(
    config: EngineConfig,
    intake: IntakeConfig,
    model_name: str,
    listen: ListenConfig,
    child: Spawned,
    signals: StopSignals,
) -> bool:
    checkpoint = find_checkpoint(config.model)
    config = dataclasses.replace(config, model=str(checkpoint.path))
    registry = get_registry()
    # Refused here, before its process is told of it.
    choose_model(checkpoint.config, registry, config.model_impl)
    metrics = EngineMetrics()
    engine = AsyncEngine(config, RequestEvents(registry), metrics)
    engine.launch(child)
    prompts = PromptPool()
    media = None
    try:
        media = ServerMedia.open(config, intake, registry, metrics.media)
        engine.on_media = media.loader.take_events
        inputs = await asyncio.to_thread(
            InputProcessor, checkpoint, registry, config.max_image_tokens, config.model_impl
        )
        await asyncio.to_thread(inputs.tokenizer.token_bytes.prepare)
        await engine.wait_until_ready(inputs.tokenizer)
        await media.wait_until_ready()
        state = ServerState(
            config,
            engine,
            inputs,
            prompts,
            media.intake,
            media.loader,
            metrics,
            model_name,
            listen.max_body_bytes,
            int(time.time()),
        )
        cut = partial(engine.fail_open_requests, "the server is shutting down")
        return await run_app(create_app(state, listen.allowed_origins), listen, signals, cut)
    finally:
        if media is not None:
            await media.close()
        prompts.close()
        await engine.stop()
