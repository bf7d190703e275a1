"""Items of POST /v1/responses as the messages of a chat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ....core.protocol.request_error import RequestError
from ...serving.message_parts import refuse_unknown
from ..chat.chat_names import ChatNames

_ROLES = ("user", "assistant", "system", "developer")
#: The fields of each type of item; ids and states are notes on an earlier response.
_ITEM_FIELDS: dict[str, tuple[str, ...]] = {
    "message": ("type", "id", "status", "role", "content"),
    "function_call": ("type", "id", "status", "call_id", "name", "arguments"),
    "function_call_output": ("type", "id", "status", "call_id", "output"),
    "reasoning": ("type", "id", "status", "summary", "content"),
}
#: What a chat calls things otherwise, beside its messages.
_OTHER_NAMES = (
    (re.compile(r"^response_format\.json_schema\b"), "text.format"),
    (re.compile(r"^response_format\b"), "text.format"),
    (re.compile(r"^max(_completion)?_tokens$"), "max_output_tokens"),
    (re.compile(r"^(tools\[\d+\]|tool_choice)\.function\b"), r"\1"),
    (re.compile(r"^messages$"), "input"),
    (re.compile(r"\.image_url\.(detail|url)$"), r".\1"),
)
_WITHOUT_PARTS = ("instructions", "input", "previous_response_id")


class ChatMessages:
    """The messages that items become. Thoughts, calls and text of one answer are one message.

    messages: as a chat has them.
    """

    def __init__(self, instructions: str | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._names = ChatNames(_OTHER_NAMES)
        if instructions is not None:
            self._add({"role": "system", "content": instructions}, "instructions", "instructions")

    def add(self, item: Any, param: str) -> None:
        """Go on with an item. param: its name. Raises RequestError that names what is wrong."""
        if not isinstance(item, Mapping):
            raise RequestError(f"{param} must be an object with a type", param)
        kind = item.get("type") or "message"
        if not isinstance(kind, str) or kind not in _ITEM_FIELDS:
            raise RequestError(
                f"{param}.type can only be one of {', '.join(_ITEM_FIELDS)} here", f"{param}.type"
            )
        refuse_unknown(item, _ITEM_FIELDS[kind], param)
        match kind:
            case "message":
                self._add_message(item, param)
            case "function_call":
                self._add_function_call(item, param)
            case "function_call_output":
                self._add_function_call_output(item, param)
            case "reasoning":
                self._add_reasoning(item, param)

    def named(self, error: RequestError) -> RequestError:
        """A chat's error, by the name that the request has for the part at fault."""
        return self._names.named(error)

    def _add_message(self, item: Mapping[str, Any], param: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            place = f"{param}.role"
            raise RequestError(f"{place} must be one of {', '.join(_ROLES)}", place)
        content = _content(item.get("content"), f"{param}.content", role == "assistant")
        if role == "assistant" and self._thinks():
            self.messages[-1]["content"] = content
            self._names.put(f"messages[{len(self.messages) - 1}].content", f"{param}.content")
            return
        self._add({"role": role, "content": content}, param, f"{param}.content")

    def _add_function_call(self, item: Mapping[str, Any], param: str) -> None:
        for name in ("call_id", "name", "arguments"):
            _text(item, name, param)
        answer = self._last_answer()
        if answer is None:
            answer = self._add({"role": "assistant", "content": None}, param, param)
        calls = answer.setdefault("tool_calls", [])
        place = f"messages[{len(self.messages) - 1}].tool_calls[{len(calls)}]"
        for part in (place, f"{place}.function"):
            self._names.put(part, param)
        function = {"name": item["name"], "arguments": item["arguments"]}
        calls.append({"id": item["call_id"], "type": "function", "function": function})

    def _add_function_call_output(self, item: Mapping[str, Any], param: str) -> None:
        call_id = _text(item, "call_id", param)
        content = _content(item.get("output"), f"{param}.output", of_assistant=False)
        message = {"role": "tool", "tool_call_id": call_id, "content": content}
        self._add(message, param, f"{param}.output")

    def _add_reasoning(self, item: Mapping[str, Any], param: str) -> None:
        if item.get("summary"):
            place = f"{param}.summary"
            raise RequestError(f"{place} can only be empty here: send content, or leave it", place)
        content = item.get("content") or []
        if not isinstance(content, list):
            raise RequestError(f"{param}.content must be a list of parts", f"{param}.content")
        thoughts = ""
        for i, part in enumerate(content):
            place = f"{param}.content[{i}]"
            if not isinstance(part, Mapping) or part.get("type") != "reasoning_text":
                raise RequestError(f"{place} must be a part of type reasoning_text", place)
            refuse_unknown(part, ("type", "text"), place)
            thoughts += _text(part, "text", place)
        message = {"role": "assistant", "content": "", "reasoning_content": thoughts}
        self._add(message, param, param)

    def _thinks(self) -> bool:
        """Whether the last message is an answer that has thoughts and nothing else yet."""
        last = self._last_answer() or {}
        return "reasoning_content" in last and not last["content"] and "tool_calls" not in last

    def _last_answer(self) -> dict[str, Any] | None:
        """The message that more of an answer belongs to."""
        if self.messages and self.messages[-1]["role"] == "assistant":
            return self.messages[-1]
        return None

    def _add(self, message: dict[str, Any], param: str, content_param: str) -> dict[str, Any]:
        place = f"messages[{len(self.messages)}]"
        is_whole = param in _WITHOUT_PARTS
        self._names.put(place, param, is_whole)
        self._names.put(f"{place}.content", param if is_whole else content_param, is_whole)
        self.messages.append(message)
        return message


def _content(given: Any, param: str, of_assistant: bool) -> Any:
    """A text, or parts as a chat has them, which says what else is wrong with one."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise RequestError(f"{param} must be a text or a list of parts", param)
    parts = [_part(part, f"{param}[{i}]", of_assistant) for i, part in enumerate(given)]
    # Templates know of parts in what is shown to the model, and write them line by line.
    return "".join(part["text"] for part in parts) if of_assistant else parts


def _part(part: Any, param: str, of_assistant: bool) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if of_assistant:
        if kind not in ("output_text", "input_text"):
            raise RequestError(f"{param} must be a part of type output_text", param)
        refuse_unknown(part, ("type", "text", "annotations", "logprobs"), param)
        return {"text": _text(part, "text", param)}
    others = {name: value for name, value in part.items() if name != "type"} if kind else {}
    if kind == "input_text":
        return {"type": "text", **others}
    if kind != "input_image":
        raise RequestError(
            f"{param} must be a part of type input_text (with text) or input_image (with an "
            "image_url)",
            param,
        )
    if others.pop("file_id", None) is not None:
        place = f"{param}.file_id"
        raise RequestError(f"{place}: no files are kept here; send an image_url", place)
    url = {"url": others.pop("image_url", None), "detail": others.pop("detail", None)}
    return {"type": "image_url", "image_url": url, **others}


def _text(item: Mapping[str, Any], name: str, param: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{param}.{name} must be a text", f"{param}.{name}")
    return value
