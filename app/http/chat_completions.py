"""POST /v1/chat/completions, streaming and not."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ...core.engine.messages import EngineRequest
from ...core.engine.outputs import RequestOutput
from ..chat import read_messages
from .chat_request import ChatCompletionRequest
from .chat_response import ChatResponses, ChunkCursor, event
from .errors import ENGINE_ERRORS, HttpError, error_body
from .state import ServerState

Result = TypeVar("Result")

_decoder = msgspec.json.Decoder(ChatCompletionRequest)


async def chat_completions(http: Request) -> Response:
    """Answer a conversation."""
    server: ServerState = http.app.state.server
    body = await _read_body(http, server)
    if body.model not in (None, server.model_name):
        raise HttpError(
            404,
            f"model {body.model!r} is not served here; served: {server.model_name!r}",
            "model",
            "model_not_found",
        )
    request_id = f"chatcmpl-{uuid.uuid4().hex}"
    # Decoding and resizing hold the processor; the event loop must not wait for them.
    request = await anyio.to_thread.run_sync(_build, server, request_id, body)
    responses = ChatResponses(request_id, server.model_name, server.inputs.tokenizer)
    beams = body.beam_search_params(server.limits.max_model_len - len(request.prompt_token_ids))
    if beams is not None:
        found = await _unless_gone(http, server.engine.beam_search(request, beams))
        return JSONResponse(responses.completion(found))
    outputs = server.engine.generate(request)
    if not body.stream:
        return JSONResponse(responses.completion(await _unless_gone(http, _last(outputs))))
    # Only with its first output has a request passed all that can refuse it with a status.
    first = await _unless_gone(http, anext(outputs))
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


def _build(server: ServerState, request_id: str, body: ChatCompletionRequest) -> EngineRequest:
    params = body.sampling_params(server.inputs.default_sampling)
    options = body.options()
    rendered, images = read_messages(body.messages, server.max_image_pixels, allow_local=False)
    token_ids = server.inputs.encode_chat(rendered, body.template_options())
    return server.inputs.build(request_id, token_ids, images, params, server.limits, options)


async def _unless_gone(http: Request, result: Awaitable[Result]) -> Result:
    """Wait for a result. Raises ClientDisconnect, the work cancelled, if nobody waits for it."""
    outcome: list[Result] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await http.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        async def run() -> None:
            nonlocal failure
            try:
                outcome.append(await result)
            except Exception as error:  # noqa: BLE001 - raised again outside of the task group
                failure = error
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        tasks.start_soon(run)
    if failure is not None:
        raise failure
    if not outcome:
        raise ClientDisconnect
    return outcome[0]


async def _last(outputs: AsyncGenerator[RequestOutput]) -> RequestOutput:
    async with aclosing(outputs):
        async for output in outputs:
            last = output
    return last


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
