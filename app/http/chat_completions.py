"""POST /v1/chat/completions, streaming and not."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ...core.engine.outputs import RequestOutput
from ..chat import read_messages
from .chat_request import ChatCompletionRequest
from .chat_response import ChatResponses, ChunkCursor, event
from .clients import last_of, unless_gone
from .errors import ENGINE_ERRORS, error_body
from .json_body import check_model, read_json
from .pipeline import Chat, beam_search, generate
from .state import ServerState

_decoder = msgspec.json.Decoder(ChatCompletionRequest)


async def chat_completions(http: Request) -> Response:
    """Answer a conversation."""
    server: ServerState = http.app.state.server
    body = await read_json(http, _decoder, server.max_body_bytes)
    arrival = time.monotonic()
    check_model(body.model, server.model_name)
    messages, images = read_messages(body.messages)
    chat = Chat(
        f"chatcmpl-{uuid.uuid4().hex}",
        messages,
        images,
        body.sampling_params(server.inputs.default_sampling),
        body.options(arrival),
        body.template_options(),
    )
    responses = ChatResponses(chat.request_id, server.model_name, server.inputs.tokenizer)
    beams = body.beam_search_params(server.limits.max_model_len)
    if beams is not None:
        found = await unless_gone(http, beam_search(server, chat, beams))
        return JSONResponse(responses.completion(found))
    outputs = generate(server, chat)
    if not body.stream:
        return JSONResponse(responses.completion(await unless_gone(http, last_of(outputs))))
    # Only with its first output has a request passed all that can refuse it with a status.
    first = await unless_gone(http, anext(outputs))
    usage = body.stream_options is not None and body.stream_options.include_usage
    return StreamingResponse(
        _stream(responses, first, outputs, usage), media_type="text/event-stream"
    )


async def _stream(
    responses: ChatResponses,
    first: RequestOutput,
    rest: AsyncGenerator[RequestOutput],
    include_usage: bool,
) -> AsyncIterator[bytes]:
    """Server-sent events. The status is sent by then, so an engine failure is an event too."""
    cursor = ChunkCursor(responses)
    output = first
    try:
        async with aclosing(rest):
            for completion in first.outputs:
                opening = {"role": "assistant", "content": ""}
                yield event(responses.chunk(completion.index, opening))
            for chunk in cursor.next_chunks(first):
                yield event(chunk)
            async for output in rest:
                for chunk in cursor.next_chunks(output):
                    yield event(chunk)
        if include_usage:
            yield event(responses.usage_chunk(output))
    except ENGINE_ERRORS as error:
        yield event(error_body(str(error), "server_error", None, None))
    yield b"data: [DONE]\n\n"
