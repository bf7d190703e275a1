"""POST /v1/messages, and the count of what it would read: POST /v1/messages/count_tokens.

A message is an answer of a chat in another shape: the request becomes one of a chat.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ....core.protocol.errors import RequestError
from ....core.protocol.outputs import RequestOutput
from ...serving.chat_pipeline import generate, prompt_tokens
from ...serving.server_state import ServerState
from ..chat.asked_chat import read_chat
from ..chat.chat_request import ReshapedChat
from ..clients import unless_gone
from ..error_shapes import anthropic_error
from ..event_stream import event, until_failed
from ..json_body import check_model, read_fields
from .answer_blocks import Event
from .content_blocks import ChatMessages
from .message_writer import MessageWriter
from .messages_fields import COUNT_TOKENS_FIELDS, MESSAGES_FIELDS
from .messages_request import CountTokensRequest, MessagesRequest


async def create_message(http: Request) -> Response:
    """Answer a conversation."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, MESSAGES_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    messages = _messages(server, body)
    chat = _chat(server, body, messages)
    try:
        return await _answer(http, server, body, chat, arrival)
    except RequestError as error:
        raise messages.named(chat.named(error)) from None


async def count_tokens(http: Request) -> Response:
    """Tell how many tokens a conversation is to the model, images expanded."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, COUNT_TOKENS_FIELDS, server.max_body_bytes)
    messages = _messages(server, body)
    chat = _chat(server, body, messages)
    try:
        asked = read_chat(http, server, chat, time.monotonic(), "tokens").chat
        tokens = await unless_gone(http, prompt_tokens(server, asked))
    except RequestError as error:
        raise messages.named(chat.named(error)) from None
    return JSONResponse({"input_tokens": len(tokens)})


def _messages(server: ServerState, body: CountTokensRequest) -> ChatMessages:
    """Raises HttpError and RequestError."""
    check_model(body.model, server.model_name)
    messages = ChatMessages(body.system, server.facts.max_model_len)
    if not body.messages:
        raise RequestError("messages must be a list of at least one message", "messages")
    for i, message in enumerate(body.messages):
        messages.add(message, f"messages[{i}]")
    return messages


def _chat(server: ServerState, body: CountTokensRequest, messages: ChatMessages) -> ReshapedChat:
    """Raises HttpError and RequestError."""
    goes_on = messages.check_end()
    return ReshapedChat(
        messages=messages.messages,
        continue_final_message=True if goes_on else None,
        **body.chat_fields(server),
    )


async def _answer(
    http: Request,
    server: ServerState,
    body: MessagesRequest,
    chat_body: ReshapedChat,
    arrival: float,
) -> Response:
    """Raises what ENGINE_ERRORS names."""
    chat, answers = read_chat(http, server, chat_body, arrival, "msg")
    message_id = chat.request_id.replace("-", "_")
    writer = MessageWriter(message_id, server.model_name, body, answers)
    outputs = generate(server, chat)
    if not body.stream:
        return await unless_gone(http, _whole(writer, outputs))
    # Only with its first output has a request passed all that can refuse it with a status.
    first = await unless_gone(http, anext(outputs))
    return StreamingResponse(
        until_failed(
            http,
            _stream(writer, first, outputs),
            lambda status, error_body: _written(anthropic_error(http.scope, status, error_body)),
        ),
        media_type="text/event-stream",
    )


async def _whole(writer: MessageWriter, outputs: AsyncGenerator[RequestOutput]) -> Response:
    async with aclosing(outputs):
        async for output in outputs:
            for _ in writer.more(output):
                pass  # of which a stream would tell
    return JSONResponse(writer.whole(output))


async def _stream(
    writer: MessageWriter, first: RequestOutput, rest: AsyncGenerator[RequestOutput]
) -> AsyncGenerator[bytes]:
    output = first
    async with aclosing(rest):
        for about in (*writer.begin(first), *writer.more(first)):
            yield _written(about)
        async for output in rest:
            for about in writer.more(output):
                yield _written(about)
    for about in writer.end(output):
        yield _written(about)


def _written(about: Event) -> bytes:
    return event(about, about["type"])
