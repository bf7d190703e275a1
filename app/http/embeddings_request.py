"""The body of POST /v1/embeddings: OpenAI's fields, and images beside texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ...core.prompts.image_part import ImagePart
from ...core.protocol.errors import RequestError
from ..serving.message_parts import read_part

_MAX_ITEMS = 2048


class EmbeddingsRequest(msgspec.Struct):
    """The fields that are understood.

    input: a text, or a list of texts and of parts as in a chat: {"type": "text", …} and
        {"type": "image_url", …}, which may have a `uuid`; `detail` means nothing here.
    dimensions: nothing but the model's own.
    cache_salt: within which an image's `uuid` is known, as in a chat.
    """

    input: Any
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    cache_salt: str | None = None

    def items(self, max_text_bytes: int) -> list[str | ImagePart]:
        """What is to be embedded, in order. max_text_bytes: of one text; see Embedder.

        Raises RequestError that names the item at fault.
        """
        given = [self.input] if isinstance(self.input, str) else self.input
        if not isinstance(given, list) or not given:
            raise RequestError(
                "input must be a text, or a list of at least one text or part", "input"
            )
        if len(given) > _MAX_ITEMS:
            param = f"input[{_MAX_ITEMS}]"
            raise RequestError(
                f"{param}: the request has {len(given)} items, more than the {_MAX_ITEMS} "
                "allowed; send fewer",
                param,
            )
        return [_read_item(item, f"input[{i}]", max_text_bytes) for i, item in enumerate(given)]

    def check_dimensions(self, dimension: int) -> None:
        """Raises RequestError for vectors of another width than the model's."""
        if self.dimensions not in (None, dimension):
            raise RequestError(
                f"dimensions can only be {dimension}, the width of this model's vectors; it was "
                "not trained to give shorter ones",
                "dimensions",
            )


def _read_item(item: Any, param: str, max_text_bytes: int) -> str | ImagePart:
    if isinstance(item, str):
        return _checked(item, param, max_text_bytes)
    if isinstance(item, int | list):
        raise RequestError(f"{param}: token ids are not taken here; send the text itself", param)
    kind = item.get("type") if isinstance(item, Mapping) else None
    if kind not in ("text", "image_url"):
        raise RequestError(
            f"{param} must be a text, or a part of type text (with text) or image_url (with a url)",
            param,
        )
    part = read_part(item, param, allow_local=False)
    if isinstance(part, ImagePart):
        return part
    return _checked(part["text"], param, max_text_bytes)


def _checked(text: str, param: str, max_bytes: int) -> str:
    if not text:
        raise RequestError(f"{param} is empty; send a text or an image", param)
    # Before it is tokenised, which is done to all of a text whatever is cut off then.
    num_bytes = len(text.encode())
    if num_bytes > max_bytes:
        raise RequestError(
            f"{param} has {num_bytes} bytes, and the model's context can't hold more than "
            f"{max_bytes}; shorten it, or send it in pieces",
            param,
        )
    return text
