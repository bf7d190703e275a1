"""How a model writes thoughts and calls, in transformers' form of response templates, in which a
checkpoint may bring its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...contracts.specs import CallForm, JsonDict
from ...protocol.config import ConfigError

CONTENT, REASONING, CALLS = "content", "reasoning_content", "tool_calls"
#: Other names of the same in templates of checkpoints.
_SYNONYMS = {"reasoning": REASONING, "thinking": REASONING}
#: Nothing is read of the prompt but what is handed over.
_ANCHOR = {"start_anchor_pattern": r"\A"}
#: Kinds of content that can't end too early unnoticed.
_COMPLETE = ("json", "python-call-list")
#: Of a call as it stands in the text; a group that closes it may stay empty.
_OPEN, _CLOSE = "octavo_open", "octavo_close"


class FunctionCall(NamedTuple):
    """arguments: a JSON object, as text."""

    name: str
    arguments: str


class ResponseTemplate:
    """A response template, checked. Imports transformers.

    name: in listings and messages. template: as transformers defines it; its anchors are not
    looked at, as the model's chat template says where an answer begins. call_form: how calls are
    written, if that is known. Raises ConfigError for one that transformers refuses, or with fields
    that are unknown here.
    """

    def __init__(self, name: str, template: JsonDict, call_form: CallForm | None = None) -> None:
        self.name = name
        self.call_form = call_form
        self._fields = self._read_fields(template)
        self._parse("", self._fields)

    @property
    def reads_calls(self) -> bool:
        """Whether it knows how the model writes calls."""
        return CALLS in self._fields

    def reads(self, calls: bool) -> bool:
        """Whether there is anything to be told apart. calls: whether calls are looked for."""
        return REASONING in self._fields or (calls and self.reads_calls)

    def splitting(self, calls: bool) -> dict[str, Any]:
        """A template for transformers' ResponseParser that takes an answer apart and nothing more:
        each call is an object of the texts that open it, that it holds, and that close it."""
        fields = {name: field for name, field in self._fields.items() if name != CALLS}
        if calls and self.reads_calls:
            fields[CALLS] = _raw(self._fields[CALLS])
        return {**_ANCHOR, "fields": fields}

    def read_calls(self, text: str, close: str, tools: Sequence[JsonDict]) -> list[FunctionCall]:
        """The calls in a text that begins with a call's marks; empty if it is malformed. close:
        what it ends with, of a call's marks. tools: by which arguments that are written as texts
        become numbers and more."""
        field = self._fields[CALLS]
        if not close and field.get("content") not in _COMPLETE:
            return []
        try:
            message = self._parse(text, {CALLS: field}, tools)
            found = [_call(value) for value in _flat(message.get(CALLS, []))]
        except Exception:  # noqa: BLE001 - transformers raises what it meets
            return []
        return found

    @property
    def openings(self) -> list[str]:
        """Regular expressions of what opens thoughts and calls."""
        return [opens for f in self._fields.values() if (opens := _pattern(f, "open"))]

    def _read_fields(self, template: JsonDict) -> dict[str, dict[str, Any]]:
        fields = template.get("fields")
        if not isinstance(fields, Mapping):
            raise ConfigError(f"{self.name}: a response template needs an object of fields")
        read: dict[str, dict[str, Any]] = {}
        for given, field in fields.items():
            name = _SYNONYMS.get(given, given)
            if name not in (CONTENT, REASONING, CALLS) or name in read:
                raise ConfigError(
                    f"{self.name}: the field {given!r} means nothing here; there are {CONTENT}, "
                    f"{REASONING} and {CALLS}. --response-template none does without"
                )
            if not isinstance(field, Mapping):
                raise ConfigError(f"{self.name}: the field {given!r} must be an object")
            if name != CALLS and field.get("content", "text") != "text":
                raise ConfigError(f"{self.name}: the field {given!r} must be of text")
            # Whether a field must be there is the model's affair: an answer is told as it is.
            read[name] = {key: value for key, value in field.items() if key != "optional"}
        return read

    def _parse(
        self, text: str, fields: Mapping[str, Any], tools: Sequence[JsonDict] = ()
    ) -> dict[str, Any]:
        from transformers.utils.chat_parsing import parse_response

        template = {**_ANCHOR, "fields": dict(fields)}
        try:
            message: dict[str, Any] = parse_response(
                text, template, prefix="", tools=[dict(t) for t in tools]
            )
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}") from error
        return message


def _raw(field: Mapping[str, Any]) -> dict[str, Any]:
    """The field of calls, but each with the very text that it was read from."""
    close = _pattern(field, "close")
    closing = {"close_pattern": f"(?P<{_CLOSE}>{close})"} if close else {}
    return {
        "open_pattern": f"(?P<{_OPEN}>{_pattern(field, 'open')})(?P<{_CLOSE}>)",
        **closing,
        "content": "text",
        "content_args": {"strip": False},
        "repeats": True,
        "transform": {"open": f"{{{_OPEN}}}", "body": "{content}", "close": f"{{{_CLOSE}}}"},
    }


def _pattern(field: Mapping[str, Any], side: str) -> str:
    """The regular expression of what opens or closes a field; "" if nothing does."""
    literals = field.get(side, ())
    literals = (literals,) if isinstance(literals, str) else literals
    if literals:
        return "|".join(re.escape(text) for text in sorted(literals, key=len, reverse=True))
    pattern: str = field.get(f"{side}_pattern", "")
    return pattern


def _flat(values: Any) -> list[Any]:
    if not isinstance(values, list):
        return [values]
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _call(value: Any) -> FunctionCall:
    """Raises KeyError, TypeError or ValueError if it is none."""
    function = value["function"]
    name, arguments = function["name"], function.get("arguments")
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, Mapping | None):
        raise TypeError("no call")
    return FunctionCall(name, json.dumps(arguments or {}, ensure_ascii=False))
