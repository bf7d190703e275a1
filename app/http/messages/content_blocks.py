"""Messages of POST /v1/messages, and their content blocks, as the messages of a chat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ....core.protocol.request_error import RequestError
from ...serving.message_parts import refuse_unknown
from ..chat.chat_names import ChatNames

#: The types of blocks that a role may have.
_BLOCKS = {
    "user": ("text", "image", "tool_result"),
    "assistant": ("text", "thinking", "tool_use"),
    "system": ("text",),
}
#: Of any block: a mark for caches of prompts, which find what is shared without it.
_HARMLESS = ("cache_control",)
#: The fields of each type of block. signature and caller are notes on an earlier answer; is_error
#: is one on what the content says.
_BLOCK_FIELDS: dict[str, tuple[str, ...]] = {
    "text": ("type", "text", *_HARMLESS),
    "image": ("type", "source", *_HARMLESS),
    "tool_use": ("type", "id", "name", "input", "caller", *_HARMLESS),
    "tool_result": ("type", "tool_use_id", "content", "is_error", *_HARMLESS),
    "thinking": ("type", "thinking", "signature"),
}
_IMAGE_TYPE = re.compile(r"image/[\w.+-]+")
_SOURCE_FIELDS = {"base64": ("type", "media_type", "data"), "url": ("type", "url")}
#: What a chat calls things otherwise, beside its messages.
_OTHER_NAMES = (
    (re.compile(r"^response_format\.json_schema\b"), "output_config.format"),
    (re.compile(r"^response_format\b"), "output_config.format"),
    (re.compile(r"^max_completion_tokens$"), "max_tokens"),
    (re.compile(r"^(tools\[\d+\])\.function\.parameters\b"), r"\1.input_schema"),
    (re.compile(r"^(tools\[\d+\]|tool_choice)\.function\b"), r"\1"),
    (re.compile(r"^parallel_tool_calls$"), "tool_choice.disable_parallel_tool_use"),
    (re.compile(r"^stop$"), "stop_sequences"),
    (re.compile(r"\.image_url(\.url)?$"), ".source"),
)


class ChatMessages:
    """The messages of a chat that those of a request become: results of tools have messages of
    their own, and others of one role that follow each other are one, as in Anthropic's API.

    system: as the request has it. max_blocks: beyond which a prompt can't fit.
    messages: as a chat has them.
    """

    def __init__(self, system: str | list[Any] | None, max_blocks: int) -> None:
        self.messages: list[dict[str, Any]] = []
        self._names = ChatNames(_OTHER_NAMES)
        self._room = max_blocks
        if system:
            self._add("system", system, "system")

    def add(self, message: Any, param: str) -> None:
        """Go on with a message. param: its name. Raises RequestError that names what is wrong."""
        if not isinstance(message, Mapping):
            raise RequestError(f"{param} must be an object with a role and content", param)
        refuse_unknown(message, ("role", "content"), param)
        role = message.get("role")
        if not isinstance(role, str) or role not in _BLOCKS:
            place = f"{param}.role"
            raise RequestError(f"{place} must be one of {', '.join(_BLOCKS)}", place)
        self._add(role, message.get("content"), f"{param}.content")

    def check_end(self) -> bool:
        """Whether the answer is to go on with the last message, the assistant's own. Raises
        RequestError if it can't."""
        last = self.messages[-1] if self.messages else {"role": None}
        if last["role"] != "assistant":
            return False
        if "tool_calls" in last or not last["content"]:
            place = f"messages[{len(self.messages) - 1}]"
            error = RequestError(
                f"{place} is the last and the assistant's: the answer goes on with its text, so "
                "that it must have some, and no tool_use",
                place,
            )
            raise self.named(error)
        return True

    def named(self, error: RequestError) -> RequestError:
        """A chat's error, by the name that the request has for the part at fault."""
        return self._names.named(error)

    def _add(self, role: str, content: Any, param: str) -> None:
        for place, block in self._blocks(content, param, _BLOCKS[role]):
            match block["type"]:
                case "tool_result":
                    self._add_result(block, place)
                case "tool_use":
                    self._add_call(block, place)
                case "thinking":
                    answer = self._answer(place)
                    answer["reasoning_content"] = answer.get("reasoning_content", "") + _text(
                        block, "thinking", place
                    )
                case "text" if role == "assistant":
                    self._answer(place)["content"] += _text(block, "text", place)
                case _:
                    self._add_part(role, block, place)

    def _blocks(
        self, content: Any, param: str, types: tuple[str, ...]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each after its name; a text is one of them."""
        if isinstance(content, str):
            content, names = [{"type": "text", "text": content}], iter((param,))
        elif isinstance(content, list) and content:
            names = (f"{param}[{i}]" for i in range(len(content)))
        else:
            raise RequestError(f"{param} must be a text, or a list of at least one block", param)
        self._room -= len(content)
        if self._room < 0:
            raise RequestError(f"{param}: there are more blocks than the context has tokens", param)
        for name, block in zip(names, content, strict=True):
            kind = block.get("type") if isinstance(block, Mapping) else None
            if kind not in types:
                message = f"{name} must be a block of type {', '.join(types)} here"
                raise RequestError(message, name)
            refuse_unknown(block, _BLOCK_FIELDS[kind], name)
            yield name, block

    def _add_part(self, role: str, block: Mapping[str, Any], param: str) -> None:
        """A block of a message that is made of parts."""
        if not self.messages or self.messages[-1]["role"] != role:
            self._begin({"role": role, "content": []}, param)
        place = f"messages[{len(self.messages) - 1}].content"
        self._put(self.messages[-1]["content"], place, block, param)

    def _put(
        self, parts: list[dict[str, Any]], place: str, block: Mapping[str, Any], param: str
    ) -> None:
        self._names.put(f"{place}[{len(parts)}]", param)
        is_text = block["type"] == "text"
        if is_text:
            parts.append({"type": "text", "text": _text(block, "text", param)})
        else:
            url = _url(block.get("source"), f"{param}.source")
            parts.append({"type": "image_url", "image_url": {"url": url}})

    def _add_result(self, block: Mapping[str, Any], param: str) -> None:
        parts: list[dict[str, Any]] = []
        call_id = _text(block, "tool_use_id", param)
        self._begin({"role": "tool", "tool_call_id": call_id, "content": parts}, param)
        place = f"messages[{len(self.messages) - 1}].content"
        self._names.put(place, f"{param}.content")
        content = block.get("content")
        if not content:
            self.messages[-1]["content"] = ""
            return
        for name, part in self._blocks(content, f"{param}.content", ("text", "image")):
            self._put(parts, place, part, name)
        if isinstance(content, str):
            self.messages[-1]["content"] = content

    def _add_call(self, block: Mapping[str, Any], param: str) -> None:
        calls = self._answer(param).setdefault("tool_calls", [])
        place = f"messages[{len(self.messages) - 1}].tool_calls[{len(calls)}]"
        self._names.put(place, param)
        self._names.put(f"{place}.function", param)
        self._names.put(f"{place}.function.arguments", f"{param}.input")
        arguments = block.get("input")
        if not isinstance(arguments, Mapping):
            raise RequestError(f"{param}.input must be an object", f"{param}.input")
        function = {"name": _text(block, "name", param), "arguments": arguments}
        calls.append({"id": _text(block, "id", param), "type": "function", "function": function})

    def _answer(self, param: str) -> dict[str, Any]:
        """The assistant's message that goes on, or begins."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self._begin({"role": "assistant", "content": ""}, param)
        return self.messages[-1]

    def _begin(self, message: dict[str, Any], param: str) -> None:
        self._names.put(f"messages[{len(self.messages)}]", param)
        self.messages.append(message)


def _url(source: Any, param: str) -> str:
    kind = source.get("type") if isinstance(source, Mapping) else None
    if not isinstance(kind, str) or kind not in _SOURCE_FIELDS:
        raise RequestError(
            f"{param} must be a source of type base64 (with media_type and data) or url", param
        )
    refuse_unknown(source, _SOURCE_FIELDS[kind], param)
    if kind == "url":
        return _text(source, "url", param)
    media_type = _text(source, "media_type", param)
    if not _IMAGE_TYPE.fullmatch(media_type):
        place = f"{param}.media_type"
        raise RequestError(f"{place} must be that of an image, such as image/png", place)
    return f"data:{media_type};base64,{_text(source, 'data', param)}"


def _text(block: Mapping[str, Any], name: str, param: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{param}.{name} must be a text", f"{param}.{name}")
    return value
