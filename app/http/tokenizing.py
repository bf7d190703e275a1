"""POST /tokenize and /detokenize, as vLLM has them: what a prompt is to the model."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core.protocol.errors import RequestError
from ...core.protocol.sampling_params import SamplingParams
from ..serving.chat_pipeline import Chat, prompt_tokens
from ..serving.server_state import ServerState
from .chat.asked_chat import read_chat
from .chat.chat_fields import CHAT_FIELDS
from .chat.chat_request import ChatCompletionRequest
from .client_identity import caller_of
from .clients import unless_gone
from .field_table import FieldTable
from .json_body import check_model, read_fields

#: Of chats, what is refused here as there.
_REFUSED = ("chat_template", "documents", "mm_processor_kwargs", "media_io_kwargs")


class TokenizeRequest(msgspec.Struct):
    """A prompt, or a chat's messages with what goes with them; see ChatCompletionRequest.

    add_special_tokens: whether those that begin a sequence are put before a prompt, unless it has
        them; a chat has those that its template writes.
    return_token_strs: whether the vocabulary's entries are told beside the ids.
    """

    model: str | None = None
    prompt: str | None = None
    add_special_tokens: bool | None = None
    messages: list[Any] | None = None
    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    max_image_tokens: int | None = None
    return_token_strs: bool = False

    def check(self) -> None:
        """Raises RequestError unless it has a prompt or messages, and what goes with it."""
        if (self.prompt is None) == (self.messages is None):
            raise RequestError("send either prompt or messages", "prompt")
        if self.messages is None:
            for name in self.chat_fields():
                raise RequestError(f"{name} needs messages", name)
        elif self.add_special_tokens:
            raise RequestError(
                "add_special_tokens needs prompt: a chat has what its template writes",
                "add_special_tokens",
            )

    def chat_fields(self) -> dict[str, Any]:
        """Those of a chat beside its messages, that were given."""
        names = (
            "tools",
            "chat_template_kwargs",
            "add_generation_prompt",
            "continue_final_message",
            "max_image_tokens",
        )
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}


class DetokenizeRequest(msgspec.Struct):
    """Token ids."""

    tokens: list[int]
    model: str | None = None


TOKENIZE_FIELDS = FieldTable(
    TokenizeRequest,
    refused={name: CHAT_FIELDS.refused[name] for name in _REFUSED},
    free=frozenset({"messages", "tools", "chat_template_kwargs"}),
)
DETOKENIZE_FIELDS = FieldTable(DetokenizeRequest, free=frozenset({"tokens"}))


async def tokenize(http: Request) -> Response:
    """The tokens of a prompt, or of a chat as its template writes it, images expanded."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, TOKENIZE_FIELDS, server.max_body_bytes)
    check_model(body.model, server.model_name)
    body.check()
    if body.prompt is None:
        tokens = await unless_gone(http, prompt_tokens(server, _chat(http, server, body)))
    else:
        tokens = await _of_prompt(
            server, body.prompt, body.add_special_tokens, caller_of(http).client
        )
    content = await asyncio.to_thread(_written, server, tokens, body.return_token_strs)
    return Response(content, media_type="application/json")


async def detokenize(http: Request) -> Response:
    """The text of tokens, special ones too."""
    server: ServerState = http.app.state.server
    body = await read_fields(http, DETOKENIZE_FIELDS, server.max_body_bytes)
    check_model(body.model, server.model_name)

    def text() -> str:
        for i, token_id in enumerate(body.tokens):
            if not 0 <= token_id < server.facts.vocab_size:
                raise RequestError(
                    f"tokens[{i}] is {token_id}, outside the vocabulary of "
                    f"{server.facts.vocab_size}",
                    f"tokens[{i}]",
                )
        return server.inputs.tokenizer.decode(body.tokens, skip_special_tokens=False)

    prompt = await server.prompts.run(caller_of(http).client, len(body.tokens), text)
    return JSONResponse({"prompt": prompt})


async def _of_prompt(
    server: ServerState, prompt: str, add_special_tokens: bool | None, client: str
) -> list[int]:
    num_bytes = server.inputs.check_prompt_cost(prompt, "prompt", SamplingParams(), server.facts)

    def encoded() -> list[int]:
        return server.inputs.tokenizer.encode(prompt, add_special_tokens is not False)

    return await server.prompts.run(client, num_bytes, encoded)


def _written(server: ServerState, tokens: list[int], with_strs: bool) -> bytes:
    """Of many tokens, so much that the event loop must not wait for it."""
    entry = server.inputs.tokenizer.token_id_text
    return msgspec.json.encode(
        {
            "count": len(tokens),
            "max_model_len": server.facts.max_model_len,
            "tokens": tokens,
            "token_strs": list(map(entry, tokens)) if with_strs else None,
        }
    )


def _chat(http: Request, server: ServerState, body: TokenizeRequest) -> Chat:
    asked = ChatCompletionRequest(messages=body.messages or [], **body.chat_fields())
    return read_chat(http, server, asked, time.monotonic(), "tokens").chat
