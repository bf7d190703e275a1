"""POST /v1/embeddings: texts and images as vectors in one space."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from ...core.process.together import together
from ...core.prompts.image_part import ImagePart
from ...core.prompts.input_processor import salt_within
from ...core.protocol.errors import RequestTimeoutError
from ..serving.embedding_state import EmbeddingState
from ..serving.image_intake import num_pixels
from .client_identity import Caller, caller_of
from .clients import unless_gone
from .embeddings_request import EmbeddingsRequest
from .field_table import FieldTable
from .json_body import check_model, read_fields

FIELDS = FieldTable(
    EmbeddingsRequest,
    harmless={"user": "a name of the caller, for the provider's records"},
    free=frozenset({"input"}),
)
#: Images of one request whose files are held at once.
_IMAGES_AT_ONCE = 32

#: A vector, and the tokens of its text that the model saw.
Result = tuple[NDArray[np.float32], int]


class _Asking(NamedTuple):
    """Who asks, and the salt that the request brought."""

    cache_salt: str
    caller: Caller

    @property
    def salt(self) -> str:
        """That of what is cached for it."""
        return salt_within(self.caller.cache_scope, self.cache_salt)


async def embeddings(http: Request) -> Response:
    """Embed the items of a request, each of them a prompt of its own.

    usage counts the tokens of texts as the model sees them, cut off at its context; images take
    none.
    """
    server: EmbeddingState = http.app.state.server
    body = await read_fields(http, FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_model(body.model, server.model_name)
    results = await embed_items(http, server, body)
    # Writing out many vectors holds the processor; the event loop must not wait for it.
    content = await asyncio.to_thread(_encode, server.model_name, results, body.encoding_format)
    server.metrics.record_answer(time.monotonic() - arrival)
    return Response(content, media_type="application/json")


async def embed_items(
    http: Request, server: EmbeddingState, body: EmbeddingsRequest
) -> list[Result]:
    """The vectors of what a request has, in order. Raises LimitError and what ENGINE_ERRORS
    names."""
    body.check_dimensions(server.embedder.ready.dimension)
    items = body.items(server.embedder.ready.max_text_bytes)
    caller = caller_of(http)
    caller.account.check_tokens(1)
    asking = _Asking(body.cache_salt or "", caller)
    with server.embedder.admission(caller.client, caller.weight, caller.background):
        seconds = None if caller.background else server.request_timeout
        work = _within(seconds, server, items, asking)
        results = await unless_gone(http, work)
    caller.account.spend_tokens(sum(num_tokens for _, num_tokens in results))
    return results


async def _within(
    seconds: float | None, server: EmbeddingState, items: Sequence[str | ImagePart], asking: _Asking
) -> list[Result]:
    try:
        async with asyncio.timeout(seconds):
            return await _embed_all(server, items, asking)
    except TimeoutError as error:
        message = "the request was not finished within its timeout"
        raise RequestTimeoutError(message, queued=False) from error


async def _embed_all(
    server: EmbeddingState, items: Sequence[str | ImagePart], asking: _Asking
) -> list[Result]:
    slots = asyncio.Semaphore(_IMAGES_AT_ONCE)
    return await together(_embed(server, item, asking, slots) for item in items)


async def _embed(
    server: EmbeddingState, item: str | ImagePart, asking: _Asking, slots: asyncio.Semaphore
) -> Result:
    caller = asking.caller
    if isinstance(item, ImagePart):
        async with slots:
            caller.account.check_pixels()
            scope = caller.cache_scope
            (image,) = await server.intake.read([item], asking.salt, cache_scope=scope)
            caller.account.take_pixels(num_pixels([image]))
            return await server.images.get(image, caller.client), 0
    embedding = await server.embedder.embed_text(item, caller.client)
    assert embedding.vector is not None
    server.metrics.prompt_tokens.inc(embedding.num_tokens)
    return embedding.vector.array, embedding.num_tokens


def _encode(model: str, results: Sequence[Result], encoding_format: str) -> bytes:
    num_tokens = sum(tokens for _, tokens in results)
    data = [
        {"object": "embedding", "index": i, "embedding": _written(vector, encoding_format)}
        for i, (vector, _) in enumerate(results)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _written(vector: NDArray[np.float32], encoding_format: str) -> Any:
    """Numbers, or base64 of them in float32, little-endian."""
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
