"""Reads OpenAI-style messages: their texts, and where their images stand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.engine.errors import RequestError
from ..core.engine.image_part import ImagePart
from .message_parts import read_part


def read_messages(
    messages: Any, allow_local: bool = False
) -> tuple[list[dict[str, Any]], list[ImagePart]]:
    """The messages as a chat template takes them, and their images in order, not read yet.

    allow_local: whether parts may hold pictures and paths, as offline callers' may.
    Raises RequestError that names the message and part at fault.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError("messages must be a list with at least one message", "messages")
    images: list[ImagePart] = []
    rendered = []
    for i, message in enumerate(messages):
        param = f"messages[{i}]"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise RequestError(f"{param} must be an object with a role", param)
        content = message.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str):
            parts = [
                read_part(part, f"{param}.content[{j}]", allow_local)
                for j, part in enumerate(content)
            ]
            images += [part for part in parts if isinstance(part, ImagePart)]
            content = [{"type": "image"} if isinstance(p, ImagePart) else p for p in parts]
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
