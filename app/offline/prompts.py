"""Prompts as offline callers write them: texts, or dictionaries in vLLM's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...core.prompts.image_part import ImagePart
from ...core.prompts.tokenizer import Tokenizer
from ...core.protocol.errors import RequestError
from ...core.protocol.setting import nearest

#: A text, {"prompt_token_ids": […]} or {"prompt": …, "multi_modal_data": {"image": …}}; the
#: latter two may have a "cache_salt".
Prompt = str | Mapping[str, Any]

_FIELDS = ("prompt", "prompt_token_ids", "multi_modal_data", "cache_salt")


class ReadPrompt(NamedTuple):
    """A prompt's tokens, one placeholder for each image, and the images, not read yet."""

    token_ids: list[int]
    images: list[ImagePart]
    cache_salt: str = ""


def is_conversation(given: Any) -> bool:
    """Whether this is a list of messages, rather than a prompt or a list of anything else."""
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        return False
    return bool(given) and isinstance(given[0], Mapping) and "role" in given[0]


def read_prompt(prompt: Any, tokenizer: Tokenizer) -> ReadPrompt:
    """Raises RequestError, which names the field at fault."""
    if isinstance(prompt, str):
        return ReadPrompt(tokenizer.encode(prompt), [])
    if not isinstance(prompt, Mapping):
        raise RequestError(f"a prompt must be a text or a dictionary, not {type(prompt)}", "prompt")
    _refuse_unknown(prompt, _FIELDS, "prompt")
    token_ids = prompt.get("prompt_token_ids")
    if token_ids is None:
        if not isinstance(prompt.get("prompt"), str):
            raise RequestError("a prompt needs 'prompt' or 'prompt_token_ids'", "prompt")
        token_ids = tokenizer.encode(prompt["prompt"])
    salt = str(prompt.get("cache_salt") or "")
    return ReadPrompt(list(token_ids), _read_images(prompt.get("multi_modal_data") or {}), salt)


def _read_images(data: Mapping[str, Any]) -> list[ImagePart]:
    _refuse_unknown(data, ("image",), "multi_modal_data")
    given = data.get("image", [])
    pictures = given if isinstance(given, list | tuple) else [given]
    return [
        ImagePart(f"multi_modal_data.image[{i}]", picture=picture)
        for i, picture in enumerate(pictures)
    ]


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for name, value in given.items():
        if name not in known and value is not None:
            raise RequestError(
                f"{where} has {name!r}, which is no field that is known here"
                f"{nearest(str(name), known)}; known: {', '.join(known)}",
                str(name),
            )
