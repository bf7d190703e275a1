"""A question as the body of a request for a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ....core.protocol.errors import RequestError
from ..task import Question

#: Fields of SamplingParams that the API itself has, under the same names.
_EVERYWHERE = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "max_tokens",
        "presence_penalty",
        "seed",
        "stop",
        "temperature",
        "top_p",
    }
)
_VLLM = frozenset(
    {
        "allowed_token_ids",
        "bad_words",
        "ignore_eos",
        "min_p",
        "min_tokens",
        "repetition_penalty",
        "stop_token_ids",
        "top_k",
    }
)
#: What servers honour beyond the API, by the owner that they name in their list of models. Others
#: may take a field that they don't know, and ignore it.
_BEYOND: Mapping[str, frozenset[str]] = {
    "octavo": _VLLM | {"logits_processors"},
    "vllm": _VLLM,
    "sglang": _VLLM - {"allowed_token_ids", "bad_words"},
    "llamacpp": frozenset({"ignore_eos", "min_p", "top_k"}),
}
#: Where the older name of max_tokens is refused for newer models.
_OPENAI = "api.openai.com"


def request_body(
    question: Question, messages: list[dict[str, Any]], model: str, url: str, owner: str
) -> bytes:
    """JSON. messages: the question's, with their pictures. owner: of the model, as the server at
    this URL has it. Raises RequestError for what such a server doesn't honour."""
    fields = {
        name: value
        for name, value in question.sampling.items()
        if not (name == "n" and value == 1) and value is not None
    }
    _check(question, fields, url, owner)
    if urlsplit(url).hostname == _OPENAI and "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    if question.form is not None:
        schema = msgspec.Raw(question.form.source.text.encode())
        named = {"name": question.name, "strict": True, "schema": schema}
        fields["response_format"] = {"type": "json_schema", "json_schema": named}
    return msgspec.json.encode({"model": model, "messages": messages, **fields})


def _check(question: Question, fields: Mapping[str, Any], url: str, owner: str) -> None:
    if question.choices:
        raise RequestError(
            f"prompt {question.name}: servers have no field for choices; caption without "
            "--workers, or list the choices in the prompt",
            "choices",
        )
    honoured = _EVERYWHERE | _BEYOND.get(owner, frozenset())
    for name in fields:
        if name not in honoured:
            raise RequestError(
                f"prompt {question.name}: {url} (its model is owned by {owner or 'nobody'!r}) is "
                f"not known to honour {name}; leave it out, or caption without --workers",
                name,
            )
