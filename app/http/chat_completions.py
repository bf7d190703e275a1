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
from .errors import ENGINE_ERRORS, HttpError, error_body
from .pipeline import Chat, beam_search, generate
from .state import ServerState

_decoder = msgspec.json.Decoder(ChatCompletionRequest)


async def chat_completions(http: Request) -> Response:
    """Answer a conversation."""
    server: ServerState = http.app.state.server
    body = await _read_body(http, server)
    arrival = time.monotonic()
    if body.model not in (None, server.model_name):
        raise HttpError(
            404,
            f"model {body.model!r} is not served here; served: {server.model_name!r}",
            "model",
            "model_not_found",
        )
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


async def _read_body(http: Request, server: ServerState) -> ChatCompletionRequest:
    data = bytearray()
    async for chunk in http.stream():
        data += chunk
        if len(data) > server.max_body_bytes:
            raise HttpError(413, f"the body is larger than {server.max_body_bytes} bytes")
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        path = str(error).partition(" - at `$")[2]
        raise HttpError(400, str(error), path.strip(".`") or None) from error
    except msgspec.DecodeError as error:
        raise HttpError(400, f"the body is not valid JSON: {error}") from error


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
