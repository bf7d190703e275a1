"""The bodies of POST /v1/messages and /v1/messages/count_tokens: Anthropic's fields, and Octavo's
beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ....core.protocol.request_error import RequestError
from ...serving.server_state import ServerState
from ...serving.thinking import AskedThinking
from ..field_table import FieldTable

#: Fields that mean to the chat what they mean here.
_PASSED_ON = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "priority",
    "cache_salt",
    "queue_timeout",
    "timeout",
)


class _Thinking(msgspec.Struct):
    type: Literal["enabled", "adaptive", "disabled"]
    display: Literal["summarized", "omitted"] | None = None


class _OutputConfig(msgspec.Struct):
    format: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _Tool(msgspec.Struct):
    name: Any
    input_schema: Any
    description: Any = None
    strict: Any = None


class _ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


_THINKING = FieldTable(
    _Thinking,
    harmless={"budget_tokens": "the length of thoughts is not limited; max_tokens limits all"},
)
_OUTPUT_CONFIG = FieldTable(
    _OutputConfig,
    refused={"effort": "use chat_template_kwargs, if the model's template knows it"},
    free=frozenset({"format"}),
)
_FORMAT = FieldTable(_Format, free=frozenset({"schema"}))
_TOOL = FieldTable(
    _Tool,
    harmless={
        "cache_control": "what prompts share is found without it",
        "eager_input_streaming": "a call is told when it is whole",
    },
    fixed={"type": ("custom",), "allowed_callers": (["direct"],), "defer_loading": (False,)},
    refused={"input_examples": "put them into the description"},
    free=frozenset(_Tool.__struct_fields__),
)
_TOOL_CHOICE = FieldTable(_ToolChoice)


class CountTokensRequest(msgspec.Struct, kw_only=True):
    """What is asked: the fields that are honoured; None takes the model's default.

    messages, system: see content_blocks.py.
    tools, tool_choice: as Anthropic's API has them.
    thinking: whether the model thinks before it answers, where its chat template has a switch.
    output_config: the form of the answer.
    """

    messages: list[Any]
    model: str | None = None
    system: str | list[Any] | None = None
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    max_image_tokens: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def chat_fields(self, server: ServerState) -> dict[str, Any]:
        """Those of the chat that is asked for, but for its messages. Raises HttpError and
        RequestError."""
        choice = _TOOL_CHOICE.read(self.tool_choice or {"type": "auto"}, "tool_choice.")
        return {
            "max_image_tokens": self.max_image_tokens,
            "tools": None if self.tools is None else list(_chat_tools(self.tools)),
            "tool_choice": _chat_tool_choice(choice) if self.tool_choice else None,
            "parallel_tool_calls": False if choice.disable_parallel_tool_use else None,
            "response_format": _response_format(self.output_config),
            **self._thinking_fields(server),
        }

    def _thinking_fields(self, server: ServerState) -> dict[str, Any]:
        kwargs = self.chat_template_kwargs or {}
        if self.thinking is None:
            return {"chat_template_kwargs": kwargs}
        asked = _THINKING.read(self.thinking, "thinking.")
        if asked.type == "adaptive":
            given = AskedThinking({}, is_told=True)
        else:
            given = AskedThinking.read(server, asked.type == "enabled", "thinking")
        return given.chat_fields(kwargs, asked.display == "omitted")


class MessagesRequest(CountTokensRequest, kw_only=True):
    """What is asked, and how it is answered."""

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool = False
    priority: int = 0
    cache_salt: str | None = None
    queue_timeout: float | None = None
    timeout: float | None = None

    def chat_fields(self, server: ServerState) -> dict[str, Any]:
        """See CountTokensRequest."""
        return {
            **super().chat_fields(server),
            **{name: getattr(self, name) for name in _PASSED_ON},
            "max_completion_tokens": self.max_tokens,
            "stop": self.stop_sequences,
        }


def _chat_tools(tools: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """As a chat has them, which says what else is wrong with one."""
    for i, given in enumerate(tools):
        param = f"tools[{i}]"
        if not isinstance(given, Mapping):
            raise RequestError(f"{param} must be an object with a name and input_schema", param)
        tool = _TOOL.read(given, f"{param}.")
        function = {"name": tool.name, "description": tool.description, "strict": tool.strict}
        yield {"type": "function", "function": {**function, "parameters": tool.input_schema}}


def _chat_tool_choice(choice: _ToolChoice) -> str | dict[str, Any]:
    if (choice.name is not None) != (choice.type == "tool"):
        message = "tool_choice.name goes with the type tool, which needs it, and with no other"
        raise RequestError(message, "tool_choice.name")
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return {"auto": "auto", "any": "required", "none": "none"}[choice.type]


def _response_format(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As a chat has it."""
    asked = _OUTPUT_CONFIG.read(given or {}, "output_config.").format
    if asked is None:
        return None
    schema = _FORMAT.read(asked, "output_config.format.").schema
    return {"type": "json_schema", "json_schema": {"schema": schema}}
