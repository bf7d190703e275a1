"""The ASGI application around an engine, and how both are loaded."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route

from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.client.async_engine import AsyncEngine
from ...core.client.child_engine import ChildEngine
from ...core.models.model_choice import choose_model
from ...core.observe.metrics import EngineMetrics
from ...core.observe.process_metrics import add_engine_process
from ...core.observe.request_events import RequestEvents
from ...core.process.child_process import Spawned
from ...core.prompts.input_processor import InputProcessor
from ...core.prompts.responses.find_answer_reader import find_answer_reader
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import EngineDeadError
from ...core.registry.registry import get_registry
from ..serving.intake_config import IntakeConfig
from ..serving.prompt_pool import PromptPool
from ..serving.server_media import ServerMedia
from ..serving.server_state import ServerState
from ..tenants.key_ring import KeyRing
from .application import create_application, not_served
from .batches.batch_service import running_batches
from .batches.routes import batch_routes
from .captions import captions
from .chat.chat_completions import chat_completions
from .completions.completions import completions
from .listen import ListenConfig
from .loading import LoadedApp, LoadingApp
from .messages.messages import count_tokens, create_message
from .ollama.generating import chat as ollama_chat
from .ollama.generating import generate as ollama_generate
from .ollama.listing import listing_routes
from .responses.responses import create_response, kept_response
from .tokenizing import detokenize, tokenize

#: That a batch may be of.
_BATCH_ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
#: A request that every model can answer.
_EXAMPLE = (
    "/v1/chat/completions",
    '{"messages": [{"role": "user", "content": "Hello"}]}',
)


def create_app(
    state: ServerState, allowed_origins: Sequence[str] = (), keys: KeyRing | None = None
) -> Starlette:
    """The application around a running engine. allowed_origins, keys: see ListenConfig."""
    no_embeddings = not_served(
        f"model {state.model_name!r} gives no embeddings; serve a CLIP or SigLIP model for them"
    )
    routes = [
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/responses", create_response, methods=["POST"]),
        Route("/v1/responses/{id}", kept_response, methods=["GET", "DELETE"]),
        Route("/v1/messages", create_message, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        Route("/v1/captions", captions, methods=["POST"]),
        Route("/v1/embeddings", no_embeddings, methods=["POST"]),
        Route("/api/chat", ollama_chat, methods=["POST"]),
        Route("/api/generate", ollama_generate, methods=["POST"]),
        Route("/api/embed", no_embeddings, methods=["POST"]),
        Route("/api/embeddings", no_embeddings, methods=["POST"]),
        *listing_routes(state.model_name),
        *batch_routes(),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/detokenize", detokenize, methods=["POST"]),
    ]
    return create_application(state, routes, allowed_origins, keys)


@asynccontextmanager
async def load(
    loading: LoadingApp,
    config: EngineConfig,
    intake: IntakeConfig,
    listen: ListenConfig,
    child: Spawned,
) -> AsyncIterator[LoadedApp]:
    """The application around an engine, both until the end. child: the engine's process.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded.
    """
    with loading.waiting_for("the model's files"):
        checkpoint = await asyncio.to_thread(find_checkpoint, config.model, config.mmproj)
    config = dataclasses.replace(config, model=str(checkpoint.path))
    registry = get_registry()
    # Refused here, before its process is told of it.
    spec = choose_model(checkpoint.config, registry, config.model_impl)
    metrics = EngineMetrics()
    process = ChildEngine(config)
    process.launch(child)
    add_engine_process(metrics.registry, lambda: process.pid)
    prompts = PromptPool()
    media = None
    try:
        shown = None if spec.image_prompt is None else config.model
        media = ServerMedia.open(config, intake, registry, metrics.media, shown)
        with loading.waiting_for("the tokenizer"):
            inputs = await asyncio.to_thread(
                InputProcessor,
                checkpoint,
                registry,
                config.max_image_tokens,
                config.model_impl,
                config.structured_outputs_backend,
            )
            await asyncio.to_thread(inputs.tokenizer.prepare)
            answers = await asyncio.to_thread(
                find_answer_reader, config.response_template, checkpoint, inputs.tokenizer, registry
            )
        engine = AsyncEngine(
            process,
            inputs.tokenizer,
            config.max_num_seqs + config.max_num_queued_reqs,
            RequestEvents(registry),
            metrics,
            media.loader.take_events,
        )
        with loading.waiting_for("the engine"):
            await process.wait_until_ready()
        with loading.waiting_for("the processes that read images"):
            await media.wait_until_ready()
        state = ServerState(
            config,
            registry,
            engine,
            inputs,
            answers,
            prompts,
            media.intake,
            media.loader,
            metrics,
            loading.model_name,
            listen.max_body_bytes,
            int(time.time()),
        )
        end = EngineDeadError("the server is shutting down")
        cut = partial(engine.fail_open_requests, end)
        application = create_app(state, listen.allowed_origins, listen.keys)
        async with running_batches(
            application,
            listen.batches,
            _BATCH_ENDPOINTS,
            state.model_name,
            state.max_body_bytes,
            lambda: state.alive,
        ) as stop_batches:
            yield LoadedApp(
                application,
                cut,
                _EXAMPLE,
                lambda: state.alive,
                stop_batches,
                listen.keys is not None,
            )
    finally:
        if media is not None:
            await media.close()
        prompts.close()
        await process.stop()
