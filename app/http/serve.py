"""`octavo serve`: listens at once, finds the model's files, and loads what they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from ...core.embedding.model_kind import gives_embeddings
from ...core.process.child_process import Spawned
from ...core.protocol.config import EngineConfig
from ..serving.intake_config import IntakeConfig
from . import embedding_server, server
from .listen import ListenConfig, run_app, run_until_stopped
from .loading import LoadedApp, LoadingApp


def serve(
    config: EngineConfig,
    intake: IntakeConfig,
    model_name: str,
    listen: ListenConfig,
    child: Spawned | None,
) -> int:
    """Load and serve until told to stop; returns the exit status. child: the engine's process,
    None for a model that is known to give embeddings.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded.
    """
    loading = LoadingApp(model_name, listen.allowed_origins)
    loads = partial(load, loading, config, intake, listen, child)
    return run_until_stopped(lambda signals: run_app(loading, loads, listen, signals))


@asynccontextmanager
async def load(
    loading: LoadingApp,
    config: EngineConfig,
    intake: IntakeConfig,
    listen: ListenConfig,
    child: Spawned | None,
) -> AsyncIterator[LoadedApp]:
    """The application around a model of either kind, both until the end. See `serve`."""
    async with AsyncExitStack() as until_stopped:
        if listen.keys is not None:
            await until_stopped.enter_async_context(listen.keys.watching())
        if child is not None:
            # Which of the two it is, a model on a hub says only once it is here.
            with loading.waiting_for("the model's files"):
                embeds = await asyncio.to_thread(gives_embeddings, config.model)
            if not embeds:
                app = server.load(loading, config, intake, listen, child)
                yield await until_stopped.enter_async_context(app)
                return
            child.end()
        app = embedding_server.load(loading, config, intake, listen)
        yield await until_stopped.enter_async_context(app)
