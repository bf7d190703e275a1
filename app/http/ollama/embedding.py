"""POST /api/embed and /api/embeddings: the vectors of POST /v1/embeddings in another shape."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ....core.protocol.errors import RequestError
from ...serving.embedding_state import EmbeddingState
from ..embeddings import embed_items
from ..embeddings_request import EmbeddingsRequest
from ..field_table import FieldTable
from ..json_body import read_fields
from .model_names import check_name
from .ollama_fields import HARMLESS
from .options import NO_OPTIONS


class EmbedRequest(msgspec.Struct):
    """input, dimensions: as in POST /v1/embeddings."""

    model: str
    input: Any
    dimensions: int | None = None
    options: dict[str, Any] | None = None


class EmbeddingsOfPrompt(msgspec.Struct):
    """A single text."""

    model: str
    prompt: str
    options: dict[str, Any] | None = None


EMBED_FIELDS = FieldTable(
    EmbedRequest, harmless=HARMLESS, fixed={"truncate": (True,)}, free=frozenset({"input"})
)
EMBEDDINGS_FIELDS = FieldTable(EmbeddingsOfPrompt, harmless=HARMLESS)


async def embed(http: Request) -> Response:
    """Embed texts; usage counts their tokens as the model sees them."""
    server: EmbeddingState = http.app.state.server
    body = await read_fields(http, EMBED_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_name(body.model, server.model_name)
    NO_OPTIONS.read(body.options or {}, "options.")
    asked = EmbeddingsRequest(body.input, dimensions=body.dimensions)
    results = await embed_items(http, server, asked)
    vectors = await asyncio.to_thread(lambda: [vector.tolist() for vector, _ in results])
    took = time.monotonic() - arrival
    server.metrics.record_answer(took)
    return Response(
        msgspec.json.encode(
            {
                "model": body.model,
                "embeddings": vectors,
                "total_duration": round(took * 10**9),
                "load_duration": 0,
                "prompt_eval_count": sum(num_tokens for _, num_tokens in results),
            }
        ),
        media_type="application/json",
    )


async def embeddings_of_prompt(http: Request) -> Response:
    """Embed a text, as older clients ask for it."""
    server: EmbeddingState = http.app.state.server
    body = await read_fields(http, EMBEDDINGS_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_name(body.model, server.model_name)
    NO_OPTIONS.read(body.options or {}, "options.")
    try:
        ((vector, _),) = await embed_items(http, server, EmbeddingsRequest(body.prompt))
    except RequestError as error:
        raise error.renamed("prompt") from None
    server.metrics.record_answer(time.monotonic() - arrival)
    return JSONResponse({"embedding": vector.tolist()})
