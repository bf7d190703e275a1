"""POST /v1/chat/completions, streaming and not."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ...core.engine.errors import EngineDeadError, RequestFailedError
from ...core.engine.messages import EngineRequest, TokenLogprobs
from ...core.engine.outputs import CompletionOutput, RequestOutput
from ...core.engine.sampling_params import SamplingParams
from ..chat import read_messages
from .errors import HttpError, error_body
from .state import ServerState

_json = msgspec.json.Encoder()


class StreamOptions(msgspec.Struct):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class ChatCompletionRequest(msgspec.Struct):
    """The fields that are understood; None takes the model's default."""

    messages: list[Any]
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


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
    if body.n not in (None, 1):
        raise HttpError(400, "n must be 1: several answers are not supported", "n")
    params = _sampling_params(body, server)
    request_id = f"chatcmpl-{uuid.uuid4().hex}"
    # Decoding and resizing hold the processor; the event loop must not wait for them.
    request = await anyio.to_thread.run_sync(_build, server, request_id, body.messages, params)
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(_stream(server, request, usage), media_type="text/event-stream")
    output = await _run_unless_gone(http, server, request)
    return JSONResponse(_completion(server, output))


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


def _sampling_params(body: ChatCompletionRequest, server: ServerState) -> SamplingParams:
    fields: dict[str, Any] = dict(server.inputs.default_sampling)
    for name in ("temperature", "top_p", "top_k", "seed"):
        if getattr(body, name) is not None:
            fields[name] = getattr(body, name)
    stop = body.stop or ()
    return SamplingParams(
        **fields,
        max_tokens=body.max_completion_tokens
        if body.max_completion_tokens is not None
        else body.max_tokens,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )


def _build(
    server: ServerState, request_id: str, messages: list[Any], params: SamplingParams
) -> EngineRequest:
    rendered, images = read_messages(messages, server.max_image_pixels, allow_local=False)
    token_ids = server.inputs.encode_chat(rendered)
    return server.inputs.build(request_id, token_ids, images, params, server.engine.limits)


async def _run_unless_gone(
    http: Request, server: ServerState, request: EngineRequest
) -> RequestOutput:
    """The finished output. Raises ClientDisconnect, the request aborted, if nobody waits."""
    result: RequestOutput | None = None
    failure: EngineDeadError | RequestFailedError | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await http.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        async def run() -> None:
            nonlocal result, failure
            try:
                async with aclosing(server.engine.generate(request)) as outputs:
                    async for output in outputs:
                        result = output
            except (EngineDeadError, RequestFailedError) as error:
                failure = error
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        tasks.start_soon(run)
    if failure is not None:
        raise failure
    if result is None or not result.finished:
        raise ClientDisconnect
    return result


async def _stream(
    server: ServerState, request: EngineRequest, include_usage: bool
) -> AsyncIterator[bytes]:
    """Server-sent events. The status is sent by then, so an engine failure is an event too."""
    first = {"role": "assistant", "content": ""}
    yield _event(_chunk(server, request.request_id, first))
    sent_text, sent_tokens = 0, 0
    try:
        async with aclosing(server.engine.generate(request)) as outputs:
            async for output in outputs:
                completion = output.outputs[0]
                delta = {"content": completion.text[sent_text:]}
                new = completion.logprobs and completion.logprobs[sent_tokens:]
                chunk = _chunk(server, request.request_id, delta, completion.finish_reason)
                if new:
                    ids = completion.token_ids[sent_tokens:]
                    chunk["choices"][0]["logprobs"] = _logprobs(server, ids, new)
                sent_text, sent_tokens = len(completion.text), len(completion.token_ids)
                if delta["content"] or output.finished or new:
                    yield _event(chunk)
        if include_usage:
            yield _event(
                _chunk(server, request.request_id, None) | {"choices": [], "usage": _usage(output)}
            )
    except (EngineDeadError, RequestFailedError) as error:
        yield _event(error_body(str(error), "server_error", None, None))
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + _json.encode(content) + b"\n\n"


def _chunk(
    server: ServerState,
    request_id: str,
    delta: dict[str, str] | None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    return {
        "id": request_id,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": server.model_name,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}],
    }


def _completion(server: ServerState, output: RequestOutput) -> dict[str, Any]:
    return {
        "id": output.request_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": server.model_name,
        "choices": [_choice(server, completion) for completion in output.outputs],
        "usage": _usage(output),
    }


def _choice(server: ServerState, completion: CompletionOutput) -> dict[str, Any]:
    logprobs = completion.logprobs
    return {
        "index": completion.index,
        "message": {"role": "assistant", "content": completion.text},
        "finish_reason": completion.finish_reason,
        "stop_reason": completion.stop_reason,
        "logprobs": None if logprobs is None else _logprobs(server, completion.token_ids, logprobs),
    }


def _usage(output: RequestOutput) -> dict[str, int]:
    prompt = len(output.prompt_token_ids)
    generated = sum(len(completion.token_ids) for completion in output.outputs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
    }


def _logprobs(
    server: ServerState, token_ids: list[int], logprobs: list[TokenLogprobs]
) -> dict[str, Any]:
    def entry(token_id: int, logprob: float) -> dict[str, Any]:
        text = server.inputs.tokenizer.token_text(token_id)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        "content": [
            entry(token_id, position.chosen)
            | {"top_logprobs": list(map(entry, position.top_ids, position.top_logprobs))}
            for token_id, position in zip(token_ids, logprobs, strict=True)
        ]
    }
