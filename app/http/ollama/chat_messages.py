"""Messages of Ollama's API as those of a chat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ....core.protocol.request_error import RequestError
from ...serving.message_parts import refuse_unknown
from ..chat.chat_names import ChatNames
from .options import OTHER_NAMES, Options

_ROLES = ("system", "user", "assistant", "tool")
_FIELDS = (
    "role",
    "content",
    "thinking",
    "images",
    "tool_calls",
    "tool_name",
    "tool_call_id",
)
_CALL_FIELDS = ("id", "type", "function")
#: index is what streams number calls with.
_FUNCTION_FIELDS = ("name", "arguments", "index")
#: What a chat calls things otherwise, beside its messages.
_NAMES = (
    (re.compile(r"^response_format(\.json_schema(\.schema)?)?"), "format"),
    *((re.compile(rf"^{name}$"), f"options.{here}") for name, here in OTHER_NAMES.items()),
    *((re.compile(rf"^{name}$"), f"options.{name}") for name in Options.__struct_fields__),
)


class OllamaMessages:
    """The messages of a chat that those of a request become. Images stand before the text of their
    message, as in Ollama's prompts; calls have no ids there, and get some by their place.

    of_prompt: whether they are those of a request that has a prompt instead.
    messages: as a chat has them.
    """

    def __init__(self, given: list[Any], of_prompt: bool = False) -> None:
        self.messages: list[dict[str, Any]] = []
        self._names = ChatNames(_NAMES)
        self._num_calls = 0
        #: Of the last answer, those without a result: ids and names.
        self._open_calls: list[tuple[str, str]] = []
        for i, message in enumerate(given):
            self._add(message, f"messages[{i}]", of_prompt)

    @property
    def go_on(self) -> bool:
        """Whether the answer goes on with the last of them, the assistant's own text."""
        last = self.messages[-1]
        return last["role"] == "assistant" and bool(last["content"]) and "tool_calls" not in last

    def named(self, error: RequestError) -> RequestError:
        """An error of a chat, or of a completion, by the name that the request has for the part at
        fault."""
        return self._names.named(error)

    def _add(self, message: Any, param: str, of_prompt: bool) -> None:
        """Raises RequestError that names what is wrong."""
        if not isinstance(message, Mapping):
            raise RequestError(f"{param} must be an object with a role and content", param)
        refuse_unknown(message, _FIELDS, param)
        role = message.get("role")
        if role not in _ROLES:
            place = f"{param}.role"
            raise RequestError(f"{place} must be one of {', '.join(_ROLES)}", place)
        own = {"user": "prompt", "system": "system"}[role] if of_prompt else f"{param}.content"
        images = "images" if of_prompt else f"{param}.images"
        self._names.put(param, own if of_prompt else param, of_prompt)
        self._names.put(f"{param}.content", own, is_whole=True)
        self._names.put(f"{param}.reasoning_content", f"{param}.thinking")
        made = {"role": role, "content": self._content(message, param, own, images)}
        if message.get("thinking"):
            made["reasoning_content"] = _text(message, "thinking", param)
        if message.get("tool_calls"):
            made["tool_calls"] = self._calls(message["tool_calls"], f"{param}.tool_calls")
        if role == "tool":
            made |= self._answered_call(message, param)
        self.messages.append(made)

    def _content(self, message: Mapping[str, Any], param: str, own: str, images: str) -> Any:
        """A text, or parts with the images before it. own, images: how errors name them."""
        text = message.get("content") or ""
        if not isinstance(text, str):
            raise RequestError(f"{own} must be a text", own)
        given = message.get("images") or []
        if not isinstance(given, list):
            raise RequestError(f"{images} must be a list of pictures in base64", images)
        parts: list[dict[str, Any]] = []
        for i, image in enumerate(given):
            place = f"{images}[{i}]"
            if not isinstance(image, str):
                raise RequestError(f"{place} must be a picture in base64", place)
            self._names.put(f"{param}.content[{i}]", place, is_whole=True)
            url = f"data:image/*;base64,{image}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        if not parts:
            return text
        self._names.put(f"{param}.content[{len(parts)}]", own, is_whole=True)
        return [*parts, {"type": "text", "text": text}] if text else parts

    def _calls(self, given: Any, param: str) -> list[dict[str, Any]]:
        if not isinstance(given, list):
            raise RequestError(f"{param} must be a list of calls of functions", param)
        self._open_calls = []
        return [self._call(call, f"{param}[{i}]") for i, call in enumerate(given)]

    def _call(self, call: Any, param: str) -> dict[str, Any]:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise RequestError(f"{param} must be the call of a function", param)
        refuse_unknown(call, _CALL_FIELDS, param)
        refuse_unknown(function, _FUNCTION_FIELDS, f"{param}.function")
        name = _text(function, "name", f"{param}.function")
        # Of the length that Mistral's chat templates insist on.
        number = f"call{self._num_calls:05d}"
        call_id = _text(call, "id", param) if call.get("id") else number
        self._num_calls += 1
        self._open_calls.append((call_id, name))
        arguments = function.get("arguments")
        return {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }

    def _answered_call(self, message: Mapping[str, Any], param: str) -> dict[str, Any]:
        """Which call a result is of: the one that it names, or the first that has none."""
        given = _text(message, "tool_call_id", param) if message.get("tool_call_id") else None
        name = _text(message, "tool_name", param) if message.get("tool_name") else None
        for call in self._open_calls:
            if given == call[0] or (given is None and name in (None, call[1])):
                self._open_calls.remove(call)
                given, name = call
                break
        found = {"tool_call_id": given, "name": name}
        return {field: value for field, value in found.items() if value is not None}


def _text(given: Mapping[str, Any], name: str, param: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{param}.{name} must be a text", f"{param}.{name}")
    return value
