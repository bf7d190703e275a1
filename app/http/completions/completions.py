"""POST /v1/completions: prompts that are gone on with, streaming and not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ....core.process.together import ahead, together
from ....core.prompts.input_processor import BuiltRequest
from ....core.protocol.errors import RequestError
from ....core.protocol.outputs import RequestOutput
from ....core.protocol.sampling_params import BeamSearchParams
from ...serving.completion_pipeline import (
    Completion,
    beam_search,
    build,
    generate,
    reserved_tokens,
)
from ...serving.server_state import ServerState
from ...tenants.account import Account
from ..client_identity import caller_of
from ..clients import last_of, unless_gone
from ..event_stream import DONE, event, until_failed
from ..json_body import check_model, read_fields
from ..request_ids import answer_id
from .completion_fields import COMPLETION_FIELDS
from .completion_request import CompletionRequest
from .completion_response import CompletionResponses
from .side_by_side import side_by_side


async def completions(http: Request) -> Response:
    """Go on with one prompt, or with several."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, COMPLETION_FIELDS, server.max_body_bytes)
    arrival = time.monotonic()
    check_model(body.model, server.model_name)
    try:
        return await _answer(http, server, body, arrival)
    except RequestError as error:
        raise body.named(error) from None


async def _answer(
    http: Request, server: ServerState, body: CompletionRequest, arrival: float
) -> Response:
    """Raises what ENGINE_ERRORS names."""
    body.check(server.facts.max_logprobs, server.config.scheduling_policy)
    include_usage = body.includes_usage
    defaults = server.inputs.default_sampling
    beams = body.beam_search_params(server.facts.max_model_len, defaults)
    request_id = answer_id(http, "cmpl")
    prompts = await asyncio.to_thread(body.prompts)
    asked = _asked(http, server, body, prompts, request_id, arrival)
    responses = CompletionResponses(
        request_id,
        server.model_name,
        server.inputs.tokenizer,
        body,
        [prompt for _, prompt in prompts],
    )
    # All of them, so that one that can't be served is refused before any has an answer.
    built = await unless_gone(http, together(build(server, completion) for completion in asked))
    account = caller_of(http).account
    num_answers = body.n or 1 if beams is None else beams.beam_width
    account.check_tokens(sum(reserved_tokens(request, num_answers) for request in built))
    at_once = max(1, server.config.max_num_seqs // (body.n or 1))
    if not body.stream:
        found = _all(server, built, beams, at_once, account)
        return await _whole(responses, await unless_gone(http, found))
    outputs = side_by_side([generate(server, request, account) for request in built], at_once)
    # Only with its first output has a request passed all that can refuse it with a status.
    first = await unless_gone(http, anext(outputs))
    return StreamingResponse(
        until_failed(http, _stream(responses, first, outputs, include_usage)),
        media_type="text/event-stream",
    )


def _asked(
    http: Request,
    server: ServerState,
    body: CompletionRequest,
    prompts: Sequence[tuple[str, str | list[int]]],
    request_id: str,
    arrival: float,
) -> list[Completion]:
    params = body.sampling_params(server.inputs.default_sampling)
    options = body.options(arrival, caller_of(http))
    return [
        Completion(
            request_id if len(prompts) == 1 else f"{request_id}-{i}",
            prompt,
            param,
            params,
            options,
            body.add_special_tokens,
        )
        for i, (param, prompt) in enumerate(prompts)
    ]


async def _all(
    server: ServerState,
    built: Sequence[BuiltRequest],
    beams: BeamSearchParams | None,
    at_once: int,
    account: Account,
) -> list[RequestOutput]:
    """The last output of each prompt. at_once: prompts that are in the engine together."""
    work = (
        last_of(generate(server, request, account))
        if beams is None
        else beam_search(server, request, beams, account)
        for request in built
    )
    async with aclosing(ahead(work, at_once)) as outputs:
        return [output async for output in outputs]


async def _whole(responses: CompletionResponses, outputs: Sequence[RequestOutput]) -> Response:
    """The answer in one piece, written down beside the event loop."""

    def written() -> bytes:
        return msgspec.json.encode(responses.whole(outputs))

    return Response(await asyncio.to_thread(written), media_type="application/json")


async def _stream(
    responses: CompletionResponses,
    first: tuple[int, RequestOutput],
    rest: AsyncGenerator[tuple[int, RequestOutput]],
    include_usage: bool,
) -> AsyncGenerator[bytes]:
    latest: dict[int, RequestOutput] = {}

    def written(index: int, output: RequestOutput) -> list[bytes]:
        latest[index] = output
        chunks: list[dict[str, Any]] = responses.chunks(index, output)
        usage = {"usage": None} if include_usage else {}
        return [event(chunk | usage) for chunk in chunks]

    async with aclosing(rest):
        for chunk in written(*first):
            yield chunk
        async for index, output in rest:
            for chunk in written(index, output):
                yield chunk
    last = responses.last_chunk([latest[index] for index in sorted(latest)], include_usage)
    if last is not None:
        yield event(last)
    yield DONE
