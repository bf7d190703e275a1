"""`octavo serve`: what is seen to before anything is loaded."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from ...core.contracts.specs import load_object
from ...core.process.child_process import Spawned
from ...core.protocol.config import ConfigError
from .. import DEMO_MODEL
from ..http.bound_sockets import bind_sockets
from ..http.pages.page_process import PAGE_MODULE, PageConfig
from ..tenants.key_ring import KeyRing
from .batch_options import batch_config
from .engine_options import engine_config
from .intake_options import intake_config

logger = logging.getLogger(__name__)


def serve(options: argparse.Namespace) -> int:
    """Serve a model; returns the exit status. Raises ConfigError or UnsupportedModelError."""
    config = engine_config(options)
    name = options.served_model_name or default_name(options.model)
    intake = intake_config(options)
    if options.ui:
        check_page("--ui")
    keys = _keys(options)
    load_object("octavo.app.http.stop_signals:end_silently")()
    sockets = bind_sockets(options.host, options.port)
    logger.info("loading %s", name)
    embeds = load_object("octavo.core.embedding.model_kind:surely_gives_embeddings")(config.model)
    if os.path.exists(config.model) and not embeds:
        load_object("octavo.core.models.preflight:preflight")(config)
    with ExitStack() as until_served:
        # Both import for seconds while this one goes on; the other commands need not.
        child = None if embeds else Spawned("octavo.core.client.engine_process")
        if child is not None:
            until_served.enter_context(child)
        page = until_served.enter_context(spawned_page()) if options.ui else None
        listen = listen_config(options, sockets, page, batch_config(options), keys)
        run = load_object("octavo.app.http.serve:serve")
        return cast(int, run(config, intake, name, listen, child))


@contextmanager
def spawned_page(base_url: str | None = None, api_key: str | None = None) -> Iterator[PageConfig]:
    """A PageConfig with a process that begins now."""
    with Spawned(PAGE_MODULE) as child:
        yield PageConfig(child, base_url, api_key)


def listen_config(
    options: argparse.Namespace,
    sockets: list[socket.socket],
    page: PageConfig | None,
    batches: Any = None,
    keys: KeyRing | None = None,
) -> Any:
    """A ListenConfig, which says what each is. sockets: bound ones. batches: a BatchConfig."""
    return load_object("octavo.app.http.listen:ListenConfig")(
        sockets,
        options.max_body_mib * 2**20,
        options.drain_timeout,
        options.max_connections,
        tuple(options.allowed_origins),
        options.access_log,
        page,
        batches,
        keys,
    )


def _keys(options: argparse.Namespace) -> KeyRing | None:
    if options.api_keys is None:
        if options.share_caches:
            raise ConfigError("--share-caches means nothing without --api-keys: all share them")
        return None
    if options.ui:
        raise ConfigError(
            "--api-keys and --ui: the page would answer who has no key; serve it apart, for those "
            "who may: octavo demo --base-url URL --api-key KEY"
        )
    return KeyRing(options.api_keys, options.share_caches)


def default_name(model: str) -> str:
    """What a model is called, if nobody says it."""
    if model == DEMO_MODEL:
        return "octavo-demo"
    family, _, weights = model.rpartition(":")
    if family and os.path.exists(weights):  # of open_clip
        return f"{family}:{Path(weights).name}"
    return Path(model).name.removesuffix(".gguf") if os.path.exists(model) else model


def check_page(option: str) -> None:
    """Raises ConfigError if what the page is made with isn't installed. option: that asks for
    it."""
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError(f"{option}: the page needs Gradio: pip install 'octavo[demo]'")
