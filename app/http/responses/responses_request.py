"""The body of POST /v1/responses: OpenAI's fields, and Octavo's beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from ....core.protocol.request_error import RequestError
from ..chat.chat_request import ChatCompletionRequest
from ..field_table import FieldTable

_LOGPROBS = "message.output_text.logprobs"
#: Fields that mean to the chat what they mean here.
_PASSED_ON = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "priority",
    "cache_salt",
    "queue_timeout",
    "timeout",
    "max_image_tokens",
    "include_reasoning",
    "skip_special_tokens",
    "chat_template_kwargs",
    "parallel_tool_calls",
)


class _NoOptions(msgspec.Struct):
    pass


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _NamedTool(msgspec.Struct):
    type: Literal["function"]
    name: str


_STREAM_OPTIONS = FieldTable(_NoOptions, fixed={"include_obfuscation": (False,)})
_TEXT = FieldTable(
    _Text,
    refused={"verbosity": "ask for a short or a long answer in the instructions"},
    free=frozenset({"format"}),
)
_FORMAT = FieldTable(
    _Format,
    harmless={"description": "a note: the input says what the model is to answer"},
    free=frozenset({"schema"}),
)
_NAMED_TOOL = FieldTable(_NamedTool)


class ResponsesRequest(msgspec.Struct):
    """The fields that are honoured; None takes the model's or the server's default.

    input: a text, or items; see input_items.py.
    previous_response_id: of a response that is kept, whose conversation the input goes on with.
    include: log-probabilities of the text, of whose likeliest tokens there are top_logprobs.
    store: whether the response is kept; None keeps it if there is room.
    text: the form of the answer. tools, tool_choice: in the flat shape of this API.
    """

    input: str | list[Any]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    priority: int = 0
    cache_salt: str | None = None
    queue_timeout: float | None = None
    timeout: float | None = None
    max_image_tokens: int | None = None
    include_reasoning: bool = True
    skip_special_tokens: bool = True
    chat_template_kwargs: dict[str, Any] | None = None

    def check(self) -> None:
        """Raises HttpError and RequestError for fields that mean nothing together."""
        if self.stream_options is not None and not self.stream:
            raise RequestError("stream_options needs stream to be true", "stream_options")
        _STREAM_OPTIONS.read(self.stream_options or {}, "stream_options.")
        for i, name in enumerate(self.include or ()):
            if name != _LOGPROBS:
                param = f"include[{i}]"
                raise RequestError(f"{param} can only be {_LOGPROBS} here", param)
        if self.top_logprobs and not self.includes_logprobs:
            raise RequestError(f"top_logprobs needs include to name {_LOGPROBS}", "top_logprobs")

    @property
    def includes_logprobs(self) -> bool:
        """Whether the text's log-probabilities are to be told."""
        return bool(self.include)

    def items(self) -> list[tuple[str, Any]]:
        """The input's items, each after its name in errors."""
        if isinstance(self.input, str):
            return [("input", {"role": "user", "content": self.input})]
        return [(f"input[{i}]", item) for i, item in enumerate(self.input)]

    def to_chat(self, messages: list[Any]) -> ChatCompletionRequest:
        """The chat that is asked for. Raises HttpError and RequestError."""
        return ChatCompletionRequest(
            messages=messages,
            max_completion_tokens=self.max_output_tokens,
            logprobs=self.includes_logprobs,
            top_logprobs=self.top_logprobs,
            response_format=_response_format(self.text),
            tools=None if self.tools is None else list(_chat_tools(self.tools)),
            tool_choice=_chat_tool_choice(self.tool_choice),
            **{name: getattr(self, name) for name in _PASSED_ON},
        )


def _response_format(text: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As a chat has it."""
    given = _TEXT.read(text or {}, "text.").format
    if given is None:
        return None
    asked = _FORMAT.read(given, "text.format.")
    named = {name: getattr(asked, name) for name in ("name", "schema", "strict")}
    if asked.type == "json_schema":
        if asked.schema is None:
            param = "text.format.schema"
            raise RequestError(f"text.format of type json_schema needs {param}", param)
        return {"type": asked.type, "json_schema": named}
    for name, value in named.items():
        if value is not None:
            param = f"text.format.{name}"
            raise RequestError(f"{param} can't be joined with the type {asked.type}", param)
    return {"type": asked.type}


def _chat_tools(tools: Sequence[Any]) -> Any:
    """As a chat has them, which says what else is wrong with one."""
    for i, tool in enumerate(tools):
        param = f"tools[{i}]"
        if not isinstance(tool, Mapping):
            raise RequestError(f"{param} must be an object with a name", param)
        if tool.get("type") != "function":
            raise RequestError(
                f"{param}.type can only be function: no other tools are known here", f"{param}.type"
            )
        yield {
            "type": "function",
            "function": {name: value for name, value in tool.items() if name != "type"},
        }


def _chat_tool_choice(given: str | Mapping[str, Any] | None) -> Any:
    if not isinstance(given, Mapping):
        return given
    asked = _NAMED_TOOL.read(given, "tool_choice.")
    return {"type": asked.type, "function": {"name": asked.name}}
