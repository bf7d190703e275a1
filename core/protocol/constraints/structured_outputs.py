"""The form that an answer must have, in vLLM's shape."""

from __future__ import annotations

from typing import Any

import msgspec

from ...contracts.grammars import GrammarKind, GrammarSource
from ..named_fields import NamedFields
from ..request_error import RequestError

#: Bytes of a schema, or of what else describes the form.
MAX_BYTES = 2**17
#: Levels of lists and objects in a schema.
MAX_NESTING = 64
_NAME = "structured_outputs"


class StructuredOutputsParams(msgspec.Struct, metaclass=NamedFields, frozen=True, kw_only=True):
    """The form of a whole answer; exactly one field is given. Raises RequestError.

    json: a JSON Schema, as a dict or a string; kept as a string.
    json_object: True for any JSON object.
    regex: a regular expression of the whole answer.
    choice: texts, of which the answer is one.
    grammar: a context-free grammar, in Lark's notation or, with "::=", in that of llama.cpp.
    structural_tag: as vLLM has it, a dict or a string: free text in which whatever follows one of
        the `triggers` has the form of one of the `structures`.
    """

    json: dict[str, Any] | str | None = None
    json_object: bool | None = None
    regex: str | None = None
    choice: tuple[str, ...] | None = None
    grammar: str | None = None
    structural_tag: dict[str, Any] | str | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            named = " and ".join(given) or "none"
            known = ", ".join(self.__struct_fields__)
            raise RequestError(f"{_NAME} must have exactly one of {known}; got {named}", _NAME)
        (name,) = given
        value = getattr(self, name)
        if name in ("json", "structural_tag"):
            value = _as_json(name, value, dict)
        elif name == "choice":
            value = _choices(value)
        elif name == "json_object":
            if value is not True:
                raise _refusal(name, "must be true; leave it out otherwise")
        elif not isinstance(value, str):
            raise _refusal(name, f"must be a string, not {type(value).__name__}")
        msgspec.structs.force_setattr(self, name, value)
        self._check_size(name)

    @property
    def param(self) -> str:
        """The name of the field that is given, within a request."""
        given = (name for name in self.__struct_fields__ if getattr(self, name) is not None)
        return f"{_NAME}.{next(given)}"

    @property
    def source(self) -> GrammarSource:
        """The same for a GrammarBackend."""
        if self.json_object:
            return GrammarSource("json", '{"type":"object"}')
        if self.choice is not None:
            return GrammarSource("choice", msgspec.json.encode(self.choice).decode())
        kinds: tuple[GrammarKind, ...] = ("json", "regex", "grammar", "structural_tag")
        for kind in kinds:
            text = getattr(self, kind)
            if text is not None:
                return GrammarSource(kind, text)
        raise AssertionError("one is given")

    def _check_size(self, name: str) -> None:
        text = self.source.text
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise _refusal(name, "has characters that are not UTF-8") from error
        if size > MAX_BYTES:
            raise _refusal(name, f"has {size} bytes, more than {MAX_BYTES}")
        if not text:
            raise _refusal(name, "is empty")
        if name in ("json", "structural_tag") and _nesting(text) > MAX_NESTING:
            raise _refusal(name, f"is nested more than {MAX_NESTING} levels deep")


def _refusal(name: str, reason: str) -> RequestError:
    param = f"{_NAME}.{name}"
    return RequestError(f"{param} {reason}", param)


def _as_json(name: str, value: Any, kind: type) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, kind):
        raise _refusal(name, f"must be an object or a string of one, not {type(value).__name__}")
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as error:
        raise _refusal(name, f"is nested more than {MAX_NESTING} levels deep") from error
    except (TypeError, ValueError) as error:
        raise _refusal(name, f"is no JSON: {error}") from error


def _choices(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple) or not value:
        raise _refusal("choice", "must be a list of texts that is not empty")
    for index, choice in enumerate(value):
        if not isinstance(choice, str) or not choice:
            raise _refusal(f"choice[{index}]", f"must be a text, not {choice!r}")
    return tuple(value)


def _nesting(json: str) -> int:
    """Levels of lists and objects, if it is JSON."""
    deepest = level = 0
    in_string = escaped = False
    for character in json:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            level += 1
            deepest = max(deepest, level)
        elif character in "]}":
            level -= 1
    return deepest
