"""Reads OpenAI-style messages: their texts, and where their images stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...core.prompts.image_part import ImagePart
from ...core.protocol.errors import RequestError
from .message_parts import read_part, refuse_unknown
from .nesting import MAX_NESTING, is_nested_too_deep

#: The fields of a message, all of them given to the chat template.
MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")
#: Notes on an earlier answer that its clients send back with it.
HARMLESS_MESSAGE_FIELDS = ("annotations",)
_KNOWN_FIELDS = (*MESSAGE_FIELDS, *HARMLESS_MESSAGE_FIELDS)
#: "index" is what streams number calls with, and clients send back.
_CALL_FIELDS = ("id", "type", "function", "index")
_FUNCTION_FIELDS = ("name", "arguments")


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
        refuse_unknown(message, _KNOWN_FIELDS, param)
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
        given = {name: message[name] for name in MESSAGE_FIELDS if message.get(name) is not None}
        rendered.append({**given, "content": content, **_read_tool_calls(message, param)})
    return rendered, images


def template_options(
    tools: Sequence[dict[str, Any]], chat_template_kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What a chat template is given besides the messages. tools: as `read_tools` gives them.

    Raises RequestError.
    """
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
    if not isinstance(calls, list | tuple):
        raise RequestError(f"{param} must be a list of calls of functions", param)
    return {"tool_calls": [_read_tool_call(call, f"{param}[{i}]") for i, call in enumerate(calls)]}


def _read_tool_call(call: Any, param: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(f"{param} must be the call of a function with a name", param)
    refuse_unknown(call, _CALL_FIELDS, param)
    refuse_unknown(function, _FUNCTION_FIELDS, f"{param}.function")
    arguments = _read_arguments(function.get("arguments"), f"{param}.function.arguments")
    return {**call, "function": {**function, "arguments": arguments}}


def _read_arguments(arguments: Any, param: str) -> Mapping[str, Any]:
    """An object, or its JSON; nothing at all is what some clients write of a call without any."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if isinstance(arguments, str):
        try:
            data = arguments.encode()
            arguments = msgspec.json.decode(data)
            too_deep = is_nested_too_deep(data)
        except RecursionError:
            too_deep = True
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RequestError(f"{param} must be JSON: {error}", param) from error
        if too_deep:
            message = f"{param} is nested more than {MAX_NESTING} levels deep"
            raise RequestError(message, param)
    if not isinstance(arguments, Mapping):
        raise RequestError(f"{param} must be a JSON object", param)
    return arguments
