"""POST /v1/responses, and what was answered before: GET and DELETE /v1/responses/{id}.

A response is an answer of a chat in another shape: the request becomes one of a chat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ....core.protocol.errors import RequestError
from ....core.protocol.outputs import RequestOutput
from ...serving.chat_pipeline import generate
from ...serving.response_store import StoredResponse
from ...serving.server_state import ServerState
from ..background import is_background
from ..chat.asked_chat import read_chat
from ..chat.chat_request import ChatCompletionRequest
from ..client_identity import caller_of
from ..clients import unless_gone
from ..errors import HttpError
from ..event_stream import event, until_failed
from ..field_table import shortened
from ..json_body import check_model, read_fields
from .conversation import Conversation, not_kept, read_conversation
from .input_items import ChatMessages
from .output_items import Event
from .response_writer import ResponseWriter
from .responses_fields import RESPONSES_FIELDS
from .responses_request import ResponsesRequest


async def create_response(http: Request) -> Response:
    """Answer the input, after the conversation that it goes on with."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, RESPONSES_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_model(body.model, server.model_name)
    if is_background(http) and body.store is None:
        # Of a batch, they would take the room of conversations; its output keeps them.
        body = msgspec.structs.replace(body, store=False)
    body.check()
    conversation = await read_conversation(server.responses, body, caller_of(http).key_name)
    most = server.facts.max_model_len
    if len(conversation.items) > most:
        raise RequestError(
            f"input: there are more items than the context has tokens, {most}", "input"
        )
    messages = ChatMessages(body.instructions)
    for param, item in conversation.items:
        messages.add(item, param)
    chat = body.to_chat(messages.messages)
    try:
        return await _answer(http, server, body, chat, conversation, arrival)
    except RequestError as error:
        raise messages.named(chat.named(error)) from None


async def _answer(
    http: Request,
    server: ServerState,
    body: ResponsesRequest,
    chat_body: ChatCompletionRequest,
    conversation: Conversation,
    arrival: float,
) -> Response:
    """Raises what ENGINE_ERRORS names."""
    chat, answers = read_chat(http, server, chat_body, arrival, "resp")
    if body.includes_logprobs and not answers.are_text_alone:
        raise RequestError(
            "include: log-probabilities are told of text alone, and this answer is searched for "
            "thoughts or calls",
            "include",
        )
    writer = ResponseWriter(
        chat.request_id.replace("-", "_"),
        server.model_name,
        body,
        chat.params,
        answers,
        server.inputs.tokenizer,
        conversation.is_kept,
    )
    outputs = generate(server, chat)
    if not body.stream:
        return await unless_gone(http, _whole(server, writer, outputs, conversation))
    # Only with its first output has a request passed all that can refuse it with a status.
    first = await unless_gone(http, anext(outputs))
    return StreamingResponse(
        until_failed(
            http,
            _stream(server, writer, first, outputs, conversation),
            lambda _, error_body: _written(writer.failure(error_body)),
        ),
        media_type="text/event-stream",
    )


async def kept_response(http: Request) -> Response:
    """Tell a response that is kept, or keep it no longer. Those that go on from it have their own
    conversations."""
    server: ServerState = http.app.state.server
    response_id = http.path_params["id"]
    for name in http.query_params:
        param = shortened(name)
        raise HttpError(400, f"{param} is not honoured here; leave it out", param)
    owner = caller_of(http).key_name
    stored = server.responses.get(response_id, owner)
    if stored is None:
        raise not_kept(response_id, "response_id")
    if http.method != "DELETE":
        return Response(stored.response, media_type="application/json")
    server.responses.delete(response_id, owner)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


async def _whole(
    server: ServerState,
    writer: ResponseWriter,
    outputs: AsyncGenerator[RequestOutput],
    conversation: Conversation,
) -> Response:
    async with aclosing(outputs):
        async for output in outputs:
            for _ in writer.more(output):
                pass  # of which a stream would tell
    _, written = await _finished(server, writer, output, conversation)
    return Response(written, media_type="application/json")


async def _stream(
    server: ServerState,
    writer: ResponseWriter,
    first: RequestOutput,
    rest: AsyncGenerator[RequestOutput],
    conversation: Conversation,
) -> AsyncGenerator[bytes]:
    output = first
    async with aclosing(rest):
        for about in (*writer.begin(), *writer.more(first)):
            yield _written(about)
        async for output in rest:
            for about in writer.more(output):
                yield _written(about)
    response, _ = await _finished(server, writer, output, conversation)
    yield _written(writer.end(response))


async def _finished(
    server: ServerState, writer: ResponseWriter, output: RequestOutput, conversation: Conversation
) -> tuple[dict[str, Any], bytes]:
    """The whole response, also as JSON, kept if it is to be."""

    def finish() -> tuple[dict[str, Any], StoredResponse]:
        response = writer.whole(output)
        return response, conversation.stored(response)

    response, stored = await asyncio.to_thread(finish)
    if conversation.is_kept:
        server.responses.keep(response["id"], stored, conversation.owner)
    return response, stored.response


def _written(about: Event) -> bytes:
    return event(about, about["type"])
