"""The way of a chat from its messages to the engine's outputs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from functools import partial
from typing import Any

import msgspec

from ...core.client.async_engine import Reload
from ...core.client.loaded_request import LoadedRequest
from ...core.prompts.image_part import ImagePart
from ...core.prompts.input_processor import BuiltRequest, RequestOptions
from ...core.prompts.sized_image import SizedImage
from ...core.protocol.outputs import RequestOutput
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams
from ..tenants.account import UNLIMITED, Account, Spending, tokens_of_answers
from .image_intake import num_pixels
from .server_state import ServerState
from .time_limit import WRITING, time_limit


class Chat(msgspec.Struct, frozen=True):
    """What is asked, whatever the shape in which it came.

    messages: as a chat template takes them. images: theirs, in order, read already or not.
    account: of who asks.
    """

    request_id: str
    messages: list[dict[str, Any]]
    images: list[ImagePart] | list[SizedImage]
    params: SamplingParams
    options: RequestOptions
    template_options: dict[str, Any] = {}
    account: Account = UNLIMITED


async def generate(server: ServerState, chat: Chat) -> AsyncGenerator[RequestOutput]:
    """The growing output; closing it gives everything back. Raises LimitError and what
    ENGINE_ERRORS names."""
    with _admission(server, chat, chat.params.n):
        async with _prepared(server, chat, chat.params.n) as (loaded, reload):
            with _spending(chat, loaded, chat.params.n) as spending:
                async with aclosing(server.engine.generate(loaded, reload)) as outputs:
                    async for output in outputs:
                        spending.update(output)
                        yield output


async def beam_search(server: ServerState, chat: Chat, params: BeamSearchParams) -> RequestOutput:
    """The best hypotheses. Raises LimitError and what ENGINE_ERRORS names."""
    with _admission(server, chat, params.beam_width):
        async with _prepared(server, chat, params.beam_width) as (loaded, reload):
            room = server.facts.max_model_len - len(loaded.request.prompt_token_ids)
            params = msgspec.structs.replace(params, max_tokens=min(params.max_tokens, room))
            with _spending(chat, loaded, params.beam_width) as spending:
                output = await server.engine.beam_search(loaded, params, reload)
                spending.update(output)
            return output


async def prompt_tokens(server: ServerState, chat: Chat) -> list[int]:
    """What the engine would be given, those of images too, whatever their number. Raises LimitError
    and what ENGINE_ERRORS names."""
    options = chat.options.with_defaults(server.config)

    with _admission(server, chat, chat.params.n):
        async with _time_limit(chat, options):
            num_bytes = _check_cost(server, chat)
            images = await _read_images(server, chat)

            def placed() -> list[int]:
                token_ids = server.inputs.encode_chat(chat.messages, chat.template_options)
                return server.inputs.place(token_ids, images, server.facts, options).token_ids

            return await server.prompts.run(options.client, num_bytes, placed)


def _admission(server: ServerState, chat: Chat, num_answers: int) -> AbstractContextManager[None]:
    options = chat.options
    return server.engine.admission(
        chat.request_id, options.client, num_answers, options.weight, options.background
    )


@asynccontextmanager
async def _prepared(
    server: ServerState, chat: Chat, num_answers: int
) -> AsyncIterator[tuple[LoadedRequest, Reload]]:
    """The request with its images ready, within the request's time."""
    # Before an image is fetched; what the prompt takes is known only when it is written.
    chat.account.check_tokens(tokens_of_answers(num_answers, chat.params.max_tokens))
    chat = msgspec.structs.replace(chat, options=chat.options.with_defaults(server.config))
    async with AsyncExitStack() as stack:
        async with _time_limit(chat, chat.options):
            num_bytes = _check_cost(server, chat)
            started = time.monotonic()
            images = await _read_images(server, chat)
            reading = time.monotonic() - started
            built = await _build(server, chat, images, num_bytes)
            started = time.monotonic()
            loaded = await stack.enter_async_context(server.loader.loading(built))
            if images:
                loaded.image_seconds = reading + time.monotonic() - started
        yield loaded, partial(server.loader.reload, built)


def _spending(
    chat: Chat, loaded: LoadedRequest, num_answers: int
) -> AbstractContextManager[Spending]:
    request = loaded.request
    num_prompt_tokens = len(request.prompt_token_ids)
    limit = request.sampling_params.max_tokens
    reserved = num_prompt_tokens + tokens_of_answers(num_answers, limit)
    chat.account.check_tokens(reserved)
    return chat.account.spending(num_prompt_tokens, reserved)


def _time_limit(chat: Chat, options: RequestOptions) -> AbstractAsyncContextManager[None]:
    return time_limit(options, "reading its images" if chat.images else WRITING)


def _check_cost(server: ServerState, chat: Chat) -> int:
    """The bytes of text that are to be tokenised. Raises RequestError if they are too many."""
    return server.inputs.check_cost(chat.messages, chat.template_options, chat.params, server.facts)


async def _read_images(server: ServerState, chat: Chat) -> list[SizedImage]:
    if not chat.images:
        return []
    chat.account.check_pixels()
    salt, scope = chat.options.salt, chat.options.cache_scope
    images = await server.intake.read(chat.images, salt, server.inputs.size_of_features, scope)
    chat.account.take_pixels(num_pixels(images))
    return images


async def _build(
    server: ServerState, chat: Chat, images: list[SizedImage], num_bytes: int
) -> BuiltRequest:
    """num_bytes: of its text, as `check_cost` gives them."""

    def build() -> BuiltRequest:
        token_ids = server.inputs.encode_chat(chat.messages, chat.template_options)
        return server.inputs.build(
            chat.request_id, token_ids, images, chat.params, server.facts, chat.options
        )

    # Tokenising a long prompt holds the processor; the event loop must not wait for it.
    return await server.prompts.run(chat.options.client, num_bytes, build)
