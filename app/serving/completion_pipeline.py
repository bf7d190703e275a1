"""The way of raw prompts, without a chat's template, to the engine's outputs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from functools import partial

import msgspec

from ...core.prompts.input_processor import BuiltRequest, RequestOptions
from ...core.protocol.errors import RequestError
from ...core.protocol.outputs import RequestOutput
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams
from ..tenants.account import Account, Spending, tokens_of_answers
from .server_state import ServerState
from .time_limit import WRITING, time_limit

#: As OpenAI's API has it.
DEFAULT_MAX_TOKENS = 16
#: By which an InputProcessor knows the prompt.
_PROMPT_PARAMS = ("prompt", "prompt_token_ids", "messages")


class Completion(msgspec.Struct, frozen=True):
    """A prompt that is to be gone on with.

    prompt: text, or token ids. param: its name in the request. params: whose max_tokens is
    DEFAULT_MAX_TOKENS, or what the context leaves, if it is None. add_special_tokens: whether those
    that begin a sequence are put before a text, unless it has them.
    """

    request_id: str
    prompt: str | list[int]
    param: str
    params: SamplingParams
    options: RequestOptions
    add_special_tokens: bool = True


async def build(server: ServerState, completion: Completion) -> BuiltRequest:
    """The request, within its time. Raises RequestError, which names the prompt if it is at fault,
    and what ENGINE_ERRORS names."""
    options = replace(completion.options.with_defaults(server.config), continues_text=True)
    try:
        async with time_limit(options, WRITING):
            return await _build(server, completion, options)
    except RequestError as error:
        if error.param not in _PROMPT_PARAMS:
            raise
        message = str(error).replace("the prompt", completion.param, 1)
        raise RequestError(message, completion.param) from error


async def _build(
    server: ServerState, completion: Completion, options: RequestOptions
) -> BuiltRequest:
    prompt, params = completion.prompt, completion.params
    inputs, facts = server.inputs, server.facts
    num_bytes = inputs.check_prompt_cost(prompt, completion.param, params, facts)

    def built() -> BuiltRequest:
        token_ids = (
            inputs.tokenizer.encode(prompt, completion.add_special_tokens)
            if isinstance(prompt, str)
            else prompt
        )
        limited = _limited(params, facts.max_model_len - len(token_ids))
        return inputs.build(completion.request_id, token_ids, [], limited, facts, options)

    return await server.prompts.run(options.client, num_bytes, built)


def _limited(params: SamplingParams, room: int) -> SamplingParams:
    """With the limit of an answer. room: what the prompt leaves of the context."""
    if params.max_tokens is not None:
        return params
    limit = min(max(DEFAULT_MAX_TOKENS, params.min_tokens), max(1, room))
    return msgspec.structs.replace(params, max_tokens=limit)


async def generate(
    server: ServerState, built: BuiltRequest, account: Account
) -> AsyncGenerator[RequestOutput]:
    """The growing output; closing it gives everything back. account: of who asks, which is known to
    have what `reserved_tokens` tells. Raises what ENGINE_ERRORS names."""
    with _admission(server, built, built.request.sampling_params.n):
        reload = partial(server.loader.reload, built)
        async with (
            server.loader.loading(built) as loaded,
            aclosing(server.engine.generate(loaded, reload)) as outputs,
        ):
            with _spending(account, built, built.request.sampling_params.n) as spending:
                async for output in outputs:
                    spending.update(output)
                    yield output


async def beam_search(
    server: ServerState, built: BuiltRequest, params: BeamSearchParams, account: Account
) -> RequestOutput:
    """The best hypotheses. account: as of `generate`. Raises what ENGINE_ERRORS names."""
    request = built.request
    room = server.facts.max_model_len - len(request.prompt_token_ids)
    params = msgspec.structs.replace(params, max_tokens=min(params.max_tokens, room))
    with _admission(server, built, params.beam_width):
        async with server.loader.loading(built) as loaded:
            reload = partial(server.loader.reload, built)
            with _spending(account, built, params.beam_width) as spending:
                output = await server.engine.beam_search(loaded, params, reload)
                spending.update(output)
            return output


def reserved_tokens(built: BuiltRequest, num_answers: int) -> int:
    """What a prompt and its answers may take."""
    request = built.request
    of_answers = tokens_of_answers(num_answers, request.sampling_params.max_tokens)
    return len(request.prompt_token_ids) + of_answers


def _spending(
    account: Account, built: BuiltRequest, num_answers: int
) -> AbstractContextManager[Spending]:
    reserved = reserved_tokens(built, num_answers)
    return account.spending(len(built.request.prompt_token_ids), reserved)


def _admission(
    server: ServerState, built: BuiltRequest, num_answers: int
) -> AbstractContextManager[None]:
    request = built.request
    return server.engine.admission(
        request.request_id, request.client, num_answers, request.weight, request.background
    )
