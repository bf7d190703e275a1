"""Reads OpenAI-style messages: their texts, and the images in them, each checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.engine.errors import RequestError
from ..core.engine.image_views import DETAILS, ImageInput
from ..core.media.image import (
    MediaError,
    decode_image,
    media_key,
    picture_key,
    read_data_url,
    to_rgb,
)


def read_messages(
    messages: Any, max_image_pixels: int, allow_local: bool
) -> tuple[list[dict[str, Any]], list[ImageInput]]:
    """The messages as a chat template takes them, and their images in order.

    allow_local: whether parts may hold pictures and paths, as offline callers' may.
    Raises RequestError that names the message and part at fault.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError("messages must be a list with at least one message", "messages")
    images: list[ImageInput] = []
    rendered = []
    for i, message in enumerate(messages):
        param = f"messages[{i}]"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise RequestError(f"{param} must be an object with a role", param)
        content = message.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str):
            parts = [
                _read_part(part, f"{param}.content[{j}]", max_image_pixels, allow_local)
                for j, part in enumerate(content)
            ]
            images += [part for part in parts if isinstance(part, ImageInput)]
            content = [{"type": "image"} if isinstance(p, ImageInput) else p for p in parts]
        elif not isinstance(content, str) and not (content is None and message.get("tool_calls")):
            raise RequestError(f"{param}.content must be text or a list", f"{param}.content")
        rendered.append({**message, "content": content, **_read_tool_calls(message, param)})
    return rendered, images


def template_options(
    tools: Sequence[Mapping[str, Any]] | None, chat_template_kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What a chat template is given besides the messages. Raises RequestError."""
    options = dict(chat_template_kwargs or {})
    if tools and "tools" in options:
        raise RequestError("tools are given twice", "chat_template_kwargs")
    return {**options, "tools": list(tools)} if tools else options


def _read_tool_calls(message: Mapping[str, Any], param: str) -> dict[str, Any]:
    """Calls of an earlier answer, their arguments as objects, which is how templates take them."""
    calls = message.get("tool_calls")
    if not calls:
        return {}
    param = f"{param}.tool_calls"
    try:
        return {"tool_calls": [_read_tool_call(call) for call in calls]}
    except (TypeError, KeyError, ValueError) as error:
        raise RequestError(
            f"{param} must be a list of calls of functions with a name and arguments in JSON", param
        ) from error


def _read_tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if isinstance(function["arguments"], str):
        function["arguments"] = json.loads(function["arguments"])
    return {**call, "function": function}


def load_picture(source: Any, param: str, max_pixels: int) -> ImageInput:
    """A picture given as a PIL image or a path. Raises RequestError."""
    if isinstance(source, Image.Image):
        return ImageInput(to_rgb(source), picture_key(source), param)
    if not isinstance(source, str | Path):
        raise RequestError(f"{param} must be a picture or a path, not {type(source)}", param)
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise RequestError(f"{param}: {source} can't be read: {error.strerror}", param) from error
    return _decode(data, param, max_pixels)


def _read_part(
    part: Any, param: str, max_pixels: int, allow_local: bool
) -> dict[str, str] | ImageInput:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image" and allow_local:
        return load_picture(part.get("image"), f"{param}.image", max_pixels)
    if kind == "image_url":
        return _read_image_url(part.get("image_url"), f"{param}.image_url", max_pixels)
    raise RequestError(
        f"{param} must be a part of type text (with text) or image_url (with a data: URL)", param
    )


def _read_image_url(value: Any, param: str, max_pixels: int) -> ImageInput:
    url = value.get("url") if isinstance(value, Mapping) else value
    detail = (value.get("detail") if isinstance(value, Mapping) else None) or "auto"
    if detail not in DETAILS:
        raise RequestError(f"{param}.detail must be one of {', '.join(DETAILS)}", f"{param}.detail")
    if not isinstance(url, str):
        raise RequestError(f"{param} must have a url", param)
    if not url.startswith("data:"):
        raise RequestError(f"{param}: only data: URLs are taken, not remote or local ones", param)
    try:
        data = read_data_url(url)
    except MediaError as error:
        raise RequestError(f"{param}: {error}", param) from error
    return replace(_decode(data, param, max_pixels), detail=detail)


def _decode(data: bytes, param: str, max_pixels: int) -> ImageInput:
    try:
        return ImageInput(decode_image(data, max_pixels), media_key(data), param)
    except MediaError as error:
        raise RequestError(f"{param}: {error}", param) from error
