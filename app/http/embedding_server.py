"""The ASGI application around a model that gives embeddings, and how both are loaded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields

from starlette.applications import Starlette
from starlette.routing import Route

from ...core.embedding.async_embedder import AsyncEmbedder
from ...core.embedding.embedder_messages import EmbedderSettings
from ...core.embedding.embedding_metrics import EmbeddingMetrics
from ...core.embedding.image_vectors import ImageVectors
from ...core.encoder_store.open_tier import open_tier
from ...core.observe.process_metrics import add_engine_process
from ...core.protocol.config import EngineConfig
from ...core.protocol.setting import settings_of
from ...core.registry.registry import get_registry
from ..serving.embedding_state import EmbeddingState
from ..serving.intake_config import IntakeConfig
from ..serving.server_images import ServerImages
from ..tenants.key_ring import KeyRing
from .application import create_application, not_served
from .batches.batch_service import running_batches
from .batches.routes import batch_routes
from .embeddings import embeddings
from .listen import ListenConfig
from .loading import LoadedApp, LoadingApp
from .ollama.embedding import embed, embeddings_of_prompt
from .ollama.listing import listing_routes

logger = logging.getLogger(__name__)

#: The engine's settings that mean something to a model that gives embeddings, beside those of
#: images and of the encoder cache, whose names begin with the words below.
_SETTINGS = {
    "model",
    "device",
    "dtype",
    "max_num_seqs",
    "max_num_queued_reqs",
    "request_timeout",
    "engine_stall_timeout",
}
_SETTINGS_OF_IMAGES = ("encoder_cache", "image_", "max_image_pixels", "max_image_bytes")

#: That a batch may be of.
_BATCH_ENDPOINTS = ("/v1/embeddings",)
#: A request that every model can answer.
_EXAMPLE = ("/v1/embeddings", '{"input": "a red car"}')


def create_app(
    state: EmbeddingState, allowed_origins: Sequence[str] = (), keys: KeyRing | None = None
) -> Starlette:
    """The application around a running embedder. allowed_origins, keys: see ListenConfig."""
    no_text = not_served(
        f"model {state.model_name!r} gives embeddings and no text; send texts and images to "
        "POST /v1/embeddings"
    )
    routes = [
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/chat/completions", no_text, methods=["POST"]),
        Route("/v1/completions", no_text, methods=["POST"]),
        Route("/v1/responses", no_text, methods=["POST"]),
        Route("/v1/responses/{id}", no_text, methods=["GET", "DELETE"]),
        Route("/v1/messages", no_text, methods=["POST"]),
        Route("/v1/messages/count_tokens", no_text, methods=["POST"]),
        Route("/v1/captions", no_text, methods=["POST"]),
        Route("/api/chat", no_text, methods=["POST"]),
        Route("/api/generate", no_text, methods=["POST"]),
        Route("/api/embed", embed, methods=["POST"]),
        Route("/api/embeddings", embeddings_of_prompt, methods=["POST"]),
        *listing_routes(state.model_name),
        *batch_routes(),
        Route("/tokenize", no_text, methods=["POST"]),
        Route("/detokenize", no_text, methods=["POST"]),
    ]
    return create_application(state, routes, allowed_origins, keys)


@asynccontextmanager
async def load(
    loading: LoadingApp, config: EngineConfig, intake: IntakeConfig, listen: ListenConfig
) -> AsyncIterator[LoadedApp]:
    """The application around an embedder, both until the end. Raises ConfigError if the model
    can't be loaded."""
    _warn_of_unused(config)
    metrics = EmbeddingMetrics()
    registry = get_registry()
    tier = open_tier(config, registry, metrics.media.observe_store)
    settings = EmbedderSettings(config.model, config.device, config.dtype)
    max_open = config.max_num_seqs + config.max_num_queued_reqs
    embedder = AsyncEmbedder(settings, metrics, max_open, config.engine_stall_timeout)
    embedder.launch()
    add_engine_process(metrics.registry, lambda: embedder.pid)
    images = vectors = None
    try:
        images = ServerImages.open(config, intake, metrics.media, None)
        vectors = ImageVectors(
            embedder, images.reader, config.encoder_cache_memory, tier, metrics.media
        )
        with loading.waiting_for("the embedder"):
            await embedder.wait_until_ready()
        with loading.waiting_for("the processes that read images"):
            await images.reader.wait_until_ready()
        state = EmbeddingState(
            embedder,
            registry,
            images.intake,
            vectors,
            metrics,
            loading.model_name,
            listen.max_body_bytes,
            config.max_num_seqs,
            config.request_timeout,
            int(time.time()),
        )
        # No answer is sent in pieces, so none has begun that would need to be ended.
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
                lambda: None,
                _EXAMPLE,
                lambda: state.alive,
                stop_batches,
                listen.keys is not None,
            )
    finally:
        if vectors is not None:
            await asyncio.to_thread(vectors.close)
        if images is not None:
            await images.close()
        await embedder.stop()


def _warn_of_unused(config: EngineConfig) -> None:
    unused = [
        f"--{field.name.replace('_', '-')}"
        for field in fields(EngineConfig)
        if field.name not in _SETTINGS
        and not field.name.startswith(_SETTINGS_OF_IMAGES)
        and getattr(config, field.name) not in (field.default, _served_default(field.name))
    ]
    if unused:
        logger.warning("of no effect on a model that gives embeddings: %s", ", ".join(unused))


def _served_default(name: str) -> object:
    known = settings_of(EngineConfig).get(name)
    return known.served if known is not None else None
