"""POST /api/chat and /api/generate, streaming and not: answers of chats, or of a completion for
`raw`, in another shape."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ....core.protocol.errors import RequestError
from ....core.protocol.outputs import RequestOutput
from ...serving import chat_pipeline, completion_pipeline
from ...serving.completion_pipeline import Completion
from ...serving.server_state import ServerState
from ..chat.asked_chat import read_chat
from ..chat.chat_message import ChatMessage
from ..chat.chat_request import ReshapedChat
from ..client_identity import caller_of
from ..clients import last_of, unless_gone
from ..error_shapes import ollama_error
from ..event_stream import until_failed
from ..json_body import read_fields
from ..request_ids import answer_id
from .answer_lines import AnswerLines, Line, Shape, chat_line, generate_line, loaded
from .chat_messages import OllamaMessages
from .model_names import check_name
from .ollama_fields import CHAT_FIELDS, GENERATE_FIELDS
from .ollama_request import OllamaGenerateRequest, OllamaRequest


async def chat(http: Request) -> Response:
    """Answer a conversation."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, CHAT_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_name(body.model, server.model_name)
    if not body.messages:
        return JSONResponse(loaded(body.model, chat_line))
    if len(body.messages) > server.facts.max_model_len:
        raise RequestError("messages: there are more than the context has tokens", "messages")
    messages = OllamaMessages(body.messages)
    return await _answer(http, server, body, messages, chat_line, arrival)


async def generate(http: Request) -> Response:
    """Answer a prompt, or go on with one that is raw."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, GENERATE_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_name(body.model, server.model_name)
    if not (body.prompt or body.images):
        return JSONResponse(loaded(body.model, generate_line))
    if body.raw:
        return await _go_on(http, server, body, arrival)
    messages = OllamaMessages(body.messages(), of_prompt=True)
    return await _answer(http, server, body, messages, generate_line, arrival)


async def _answer(
    http: Request,
    server: ServerState,
    body: OllamaRequest,
    messages: OllamaMessages,
    shape: Shape,
    arrival: float,
) -> Response:
    """Raises what ENGINE_ERRORS names."""
    asked = ReshapedChat(
        messages=messages.messages,
        continue_final_message=True if messages.go_on else None,
        **body.chat_fields(server),
    )
    try:
        chat, answers = read_chat(http, server, asked, arrival, "chatcmpl")
        tokens = server.inputs.tokenizer.token_bytes
        lines = AnswerLines(body.model, shape, answers.messages, tokens)
        return await _told(http, lines, chat_pipeline.generate(server, chat), body.stream)
    except RequestError as error:
        raise messages.named(asked.named(error)) from None


async def _go_on(
    http: Request, server: ServerState, body: OllamaGenerateRequest, arrival: float
) -> Response:
    """Raises LimitError and what ENGINE_ERRORS names."""
    asked = body.to_completion(server.facts.max_model_len)
    caller = caller_of(http)
    try:
        asked.check(server.facts.max_logprobs, server.config.scheduling_policy)
        completion = Completion(
            answer_id(http, "cmpl"),
            body.prompt,
            "prompt",
            asked.sampling_params(server.inputs.default_sampling),
            asked.options(arrival, caller),
        )
        built = await unless_gone(http, completion_pipeline.build(server, completion))
        caller.account.check_tokens(completion_pipeline.reserved_tokens(built, 1))
        outputs = completion_pipeline.generate(server, built, caller.account)
        tokens = server.inputs.tokenizer.token_bytes
        lines = AnswerLines(body.model, generate_line, lambda _: [ChatMessage(None)], tokens)
        return await _told(http, lines, outputs, body.stream)
    except RequestError as error:
        raise OllamaMessages([]).named(asked.named(error)) from None


async def _told(
    http: Request, lines: AnswerLines, outputs: AsyncGenerator[RequestOutput], stream: bool
) -> Response:
    if not stream:
        return JSONResponse(lines.whole(await unless_gone(http, last_of(outputs))))
    # Only with its first output has a request passed all that can refuse it with a status.
    first = await unless_gone(http, anext(outputs))
    return StreamingResponse(
        until_failed(
            http,
            _stream(lines, first, outputs),
            lambda _, error_body: _written(ollama_error(error_body)),
        ),
        media_type="application/x-ndjson",
    )


async def _stream(
    lines: AnswerLines, first: RequestOutput, rest: AsyncGenerator[RequestOutput]
) -> AsyncGenerator[bytes]:
    output = first
    async with aclosing(rest):
        for line in lines.next(first):
            yield _written(line)
        async for output in rest:
            for line in lines.next(output):
                yield _written(line)
    yield _written(lines.end(output))


def _written(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"
