"""Answers that must be calls: the form that keeps them to it, and what they call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ....core.prompts.responses.answer_parser import AnswerParts
from ....core.prompts.responses.response_template import FunctionCall
from ....core.prompts.responses.strict_calls import arguments_schema
from ....core.protocol.constraints.structured_outputs import MAX_BYTES, StructuredOutputsParams
from ....core.protocol.request_error import RequestError

_REF = "$ref"


class _Function(msgspec.Struct):
    name: str


class _NamedTool(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's way to name the function that must be called."""

    function: _Function
    type: str = "function"


class ForcedCalls:
    """The whole answer is JSON, as in vLLM: the arguments of the one function that is named; or a
    list of calls, each an object of a name and arguments.

    tools: as `read_tools` gives them. tool_choice: "required", or as OpenAI names a function.
    one_call: whether the list has one call.
    Raises RequestError, which names the field at fault.
    """

    def __init__(
        self,
        tools: Sequence[Mapping[str, Any]],
        tool_choice: str | Mapping[str, Any] | None,
        one_call: bool,
    ) -> None:
        schemas = {tool["function"]["name"]: arguments_schema(tool) for tool in tools}
        if not schemas:
            raise RequestError("tool_choice: there are no tools to call", "tool_choice")
        # Before they are walked through, which is done between other requests.
        if len(msgspec.json.encode(schemas)) > MAX_BYTES:
            message = (
                f"tools: their parameters have more than {MAX_BYTES} bytes, and can't be forced"
            )
            raise RequestError(message, "tools")
        self.name = None if tool_choice == "required" else _named(tool_choice, schemas)
        schema = _list_of_calls(schemas, one_call) if self.name is None else schemas[self.name]
        self.form = StructuredOutputsParams(json=schema)

    def parser(self) -> ForcedCallsParser:
        """For one answer."""
        return ForcedCallsParser(self.name)


class ForcedCallsParser:
    """See AnswerParser. name: of the function that is called; None if the answer says so. Calls
    are told when the answer ends; one that a limit cuts is content, as it was written."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._text = ""
        self.num_calls = 0

    def feed(self, text: str, last: bool = False) -> AnswerParts:
        """Go on with more of the answer. last: nothing follows."""
        self._text += text
        if not last:
            return AnswerParts("", "", [])
        try:
            calls = self._calls(json.loads(self._text))
        except ValueError:
            return AnswerParts(self._text, "", [])
        self.num_calls = len(calls)
        return AnswerParts("", "", calls)

    def _calls(self, answer: Any) -> list[FunctionCall]:
        if self._name is not None:
            return [FunctionCall(self._name, json.dumps(answer, ensure_ascii=False))]
        return [
            FunctionCall(call["name"], json.dumps(call["arguments"], ensure_ascii=False))
            for call in answer
        ]


def _named(tool_choice: Any, schemas: Mapping[str, Any]) -> str:
    try:
        named = msgspec.convert(tool_choice, _NamedTool)
    except msgspec.ValidationError as error:
        raise RequestError(
            'tool_choice must be "auto", "none", "required", or {"type": "function", "function": '
            f'{{"name": …}}}}: {error}',
            "tool_choice",
        ) from error
    name = named.function.name
    if named.type != "function" or name not in schemas:
        known = ", ".join(schemas)
        raise RequestError(
            f"tool_choice.function.name: no tool is called {name!r}; there are {known}",
            "tool_choice.function.name",
        )
    return name


def _list_of_calls(schemas: Mapping[str, Any], one_call: bool) -> dict[str, Any]:
    places = {name: f"#/$defs/{index}" for index, name in enumerate(schemas)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {_REF: place}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, place in places.items()
    ]
    most = {"maxItems": 1} if one_call else {}
    return {
        "type": "array",
        "items": {"anyOf": calls},
        "minItems": 1,
        **most,
        "$defs": {
            str(index): _moved(schemas[name], place)
            for index, (name, place) in enumerate(places.items())
        },
    }


def _moved(schema: Any, place: str) -> Any:
    """The same schema in a place of another: its references go on meaning what they did."""
    if isinstance(schema, list):
        return [_moved(part, place) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: place + value.removeprefix("#")
        if key == _REF and isinstance(value, str) and value.startswith("#")
        else _moved(value, place)
        for key, value in schema.items()
    }
