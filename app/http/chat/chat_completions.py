"""POST /v1/chat/completions, streaming and not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ....core.protocol.errors import RequestError
from ....core.protocol.outputs import RequestOutput
from ...serving.chat_pipeline import beam_search, generate
from ...serving.server_state import ServerState
from ..clients import last_of, unless_gone
from ..event_stream import DONE, event, until_failed
from ..json_body import check_model, read_fields
from .asked_chat import read_chat
from .chat_fields import CHAT_FIELDS
from .chat_request import ChatCompletionRequest
from .chat_response import ChatResponses, ChunkCursor


async def chat_completions(http: Request) -> Response:
    """Answer a conversation."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, CHAT_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_model(body.model, server.model_name)
    try:
        return await _answer(http, server, body, arrival)
    except RequestError as error:
        raise body.named(error) from None


async def _answer(
    http: Request, server: ServerState, body: ChatCompletionRequest, arrival: float
) -> Response:
    """Raises what ENGINE_ERRORS names."""
    include_usage = body.includes_usage
    chat, answers = read_chat(http, server, body, arrival, "chatcmpl")
    responses = ChatResponses(
        chat.request_id,
        server.model_name,
        server.inputs.tokenizer,
        answers.messages,
        body.include_timings,
    )
    beams = body.beam_search_params(server.facts.max_model_len, server.inputs.default_sampling)
    if beams is not None:
        found = await unless_gone(http, beam_search(server, chat, beams))
        return await _whole(responses, found)
    outputs = generate(server, chat)
    if not body.stream:
        return await _whole(responses, await unless_gone(http, last_of(outputs)))
    # Only with its first output has a request passed all that can refuse it with a status.
    first = await unless_gone(http, anext(outputs))
    return StreamingResponse(
        until_failed(http, _stream(responses, first, outputs, include_usage)),
        media_type="text/event-stream",
    )


async def _whole(responses: ChatResponses, output: RequestOutput) -> Response:
    """The answer in one piece. Log-probabilities make it large: writing them down must not keep
    the event loop from others."""

    def written() -> bytes:
        return msgspec.json.encode(responses.completion(output))

    return Response(await asyncio.to_thread(written), media_type="application/json")


async def _stream(
    responses: ChatResponses,
    first: RequestOutput,
    rest: AsyncGenerator[RequestOutput],
    include_usage: bool,
) -> AsyncGenerator[bytes]:
    cursor = ChunkCursor(responses)
    output = first

    def written(chunk: dict[str, Any]) -> bytes:
        return event({**chunk, "usage": None} if include_usage else chunk)

    async with aclosing(rest):
        for completion in first.outputs:
            opening = {"role": "assistant", "content": ""}
            yield written(responses.chunk(completion.index, opening))
        for chunk in cursor.next_chunks(first):
            yield written(chunk)
        async for output in rest:
            for chunk in cursor.next_chunks(output):
                yield written(chunk)
    last = responses.last_chunk(output, include_usage)
    if last is not None:
        yield event(last)
    yield DONE
