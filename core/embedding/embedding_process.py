"""The embedder in a process of its own: it answers one batch after another.

Pictures come as they were decoded and are prepared here, by the library whose model it is: its
preparation may give several arrays, such as SigLIP 2's, of which the image workers know nothing.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from PIL import Image
from torch import Tensor

from ...kernels.dtypes import dtype_name
from ..process.heartbeat import Ping, Pong
from ..process.wire import Connection
from ..protocol.config import ConfigError
from ..protocol.messages import StartFailed
from ..protocol.runtime_facts import RuntimeFacts
from ..protocol.shared_array import SharedArray
from ..system.log_context import about_requests
from .embedder import Embedder
from .embedder_messages import (
    Embedded,
    EmbedderReady,
    EmbedderSettings,
    Embedding,
    EmbedTexts,
    ToEmbedder,
)
from .load_embedder import choose_place, load_embedder

logger = logging.getLogger(__name__)


def answer(embedder: Embedder, batch: ToEmbedder) -> Embedded:
    """The batch's vectors; an item that fails costs the others nothing but time."""
    started = time.monotonic()
    if isinstance(batch, EmbedTexts):
        items: Sequence[Any] = batch.texts
        embed = partial(_embed_texts, embedder)
    else:
        items = [Image.fromarray(picture.array) for picture in batch.pictures]
        embed = partial(_embed_images, embedder)
    embeddings = _embed(embed, items, batch.request_ids)
    return Embedded(embeddings, time.monotonic() - started)


def _embed(
    embed: Callable[[Sequence[Any]], list[Embedding]],
    items: Sequence[Any],
    request_ids: Sequence[str],
) -> list[Embedding]:
    try:
        return embed(items)
    except Exception as error:  # libraries' models and processors may raise anything
        if len(items) > 1:
            each = zip(items, request_ids, strict=True)
            return [embedding for item, id in each for embedding in _embed(embed, [item], [id])]
        with about_requests(*request_ids):
            logger.exception("an item can't be embedded")
        return [Embedding(None, failure=f"the model failed: {error}")]


def _embed_texts(embedder: Embedder, texts: Sequence[str]) -> list[Embedding]:
    vectors = embedder.embed_texts(texts)
    return list(map(_embedding, vectors, embedder.count_tokens(texts)))


def _embed_images(embedder: Embedder, images: Sequence[Image.Image]) -> list[Embedding]:
    return list(map(_embedding, embedder.embed_images(images)))


def _embedding(vector: Tensor, num_tokens: int = 0) -> Embedding:
    if not vector.isfinite().all():
        failure = "the model gave a vector with numbers that are not finite; try another dtype"
        return Embedding(None, failure=failure)
    return Embedding(SharedArray(vector.cpu().numpy()), num_tokens)


def run(sock: socket.socket) -> None:
    """Load what the first message names, and answer batches until the parent hangs up. Raises
    ConnectionError if that is in the middle of an answer."""
    settings = Connection[EmbedderSettings](sock, EmbedderSettings).receive()
    if settings is None:
        return  # the parent is gone
    connection: Connection[ToEmbedder | Ping] = Connection(sock, ToEmbedder | Ping)
    try:
        embedder = load_embedder(settings.model, settings.device, settings.dtype)
    except ConfigError as error:
        connection.send(connection.encode(StartFailed(str(error))))
        return
    except Exception as error:  # libraries may raise anything
        logger.exception("the model can't be loaded")
        message = f"the model can't be loaded: {type(error).__name__}: {error}"
        connection.send(connection.encode(StartFailed(message)))
        return
    device, dtype = choose_place(settings.device, settings.dtype)
    ready = EmbedderReady(
        embedder.dimension,
        embedder.max_text_bytes,
        embedder.fingerprint(),
        embedder.digest(),
        RuntimeFacts(device=str(device), dtype=dtype_name(dtype)),
    )
    connection.send(connection.encode(ready))
    while (batch := connection.receive()) is not None:
        reply = Pong() if isinstance(batch, Ping) else answer(embedder, batch)
        connection.send(connection.encode(reply))


def main(sock: socket.socket) -> None:
    """Entry of the child."""
    try:
        run(sock)
    except ConnectionError:
        logger.debug("the parent is gone")
