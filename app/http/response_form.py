"""The form that a chat's answer must have: OpenAI's `response_format`, and what vLLM calls
`structured_outputs` and, in its older versions, `guided_json` and so on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from ...core.protocol.constraints.structured_outputs import StructuredOutputsParams
from ...core.protocol.request_error import RequestError
from .field_table import FieldTable

NO_WHITE_SPACE = "white space between the parts of JSON is bounded, and can't be chosen"
#: By vLLM's older names, the fields of StructuredOutputsParams.
_GUIDED = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}


class _ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    structures: list[Any] | None = None
    triggers: list[Any] | None = None


class _NamedSchema(msgspec.Struct):
    schema: dict[str, Any]
    name: str | None = None
    strict: bool | None = None


class _StructuredOutputs(msgspec.Struct):
    """Of any type: StructuredOutputsParams says what is wrong with one."""

    json: Any = None
    json_object: Any = None
    regex: Any = None
    choice: Any = None
    grammar: Any = None
    structural_tag: Any = None


RESPONSE_FORMAT = FieldTable(
    _ResponseFormat,
    refused={
        "format": "a structural tag has structures and triggers",
    },
    free=frozenset({"json_schema", "schema", "structures"}),
)
_NAMED_SCHEMA = FieldTable(
    _NamedSchema,
    harmless={"description": "a note: the prompt says what the model is to answer"},
    free=frozenset({"schema"}),
)
STRUCTURED_OUTPUTS = FieldTable(
    _StructuredOutputs,
    fixed={
        "disable_fallback": (True, False),
        "disable_any_whitespace": (False,),
        "disable_additional_properties": (False,),
    },
    refused={"whitespace_pattern": NO_WHITE_SPACE},
    free=frozenset(_StructuredOutputs.__struct_fields__),
)


class AskedForm(NamedTuple):
    """A form, and the name that the request has for it."""

    param: str
    form: StructuredOutputsParams

    def named(self, error: RequestError) -> RequestError:
        """The error by that name, if it is about the form."""
        return _renamed(error, self.form.param, self.param)


class AsksForForm(Protocol):
    """The fields of a request that say which form its answer has."""

    response_format: dict[str, Any] | None
    structured_outputs: dict[str, Any] | None
    guided_json: dict[str, Any] | str | None
    guided_regex: str | None
    guided_choice: list[str] | None
    guided_grammar: str | None


def read_form(request: AsksForForm) -> AskedForm | None:
    """The form that a request asks for, if any. Raises HttpError and RequestError, which name the
    field at fault."""
    found = list(_asked(request))
    if len(found) > 1:
        first, second = found[0][0], found[1][0]
        raise RequestError(f"{second} can't be joined with {first}: an answer has one form", second)
    for param, fields in found:
        try:
            return AskedForm(param, StructuredOutputsParams(**fields))
        except RequestError as error:
            raise _renamed(error, f"structured_outputs.{next(iter(fields), '')}", param) from error
    return None


def _asked(request: AsksForForm) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each field that asks for a form, what it is called in errors, and the fields of
    StructuredOutputsParams that it gives."""
    if request.response_format is not None:
        yield from _of_response_format(request.response_format)
    if request.structured_outputs is not None:
        name = "structured_outputs"
        read = msgspec.structs.asdict(
            STRUCTURED_OUTPUTS.read(request.structured_outputs, f"{name}.")
        )
        given = {kind: value for kind, value in read.items() if value is not None}
        yield (f"{name}.{next(iter(given))}" if len(given) == 1 else name), given
    for name, kind in _GUIDED.items():
        value = getattr(request, name)
        if value is not None:
            yield name, {kind: value}


def _of_response_format(given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    param = "response_format"
    read = RESPONSE_FORMAT.read(given, f"{param}.")
    needed = {"json_schema": ("json_schema",), "structural_tag": ("structures", "triggers")}
    # As llama.cpp's server and older clients of it have a schema.
    optional = {"json_object": ("schema",)}
    for name in ("json_schema", "schema", "structures", "triggers"):
        value, place = getattr(read, name), f"{param}.{name}"
        if name in needed.get(read.type, ()):
            if value is None:
                raise RequestError(f"{param} of type {read.type} needs {place}", place)
        elif value is not None and name not in optional.get(read.type, ()):
            raise RequestError(f"{place} can't be joined with the type {read.type}", place)
    if read.schema is not None:
        yield f"{param}.schema", {"json": read.schema}
    elif read.type == "json_object":
        yield param, {"json_object": True}
    if read.json_schema is not None:
        place = f"{param}.json_schema."
        yield f"{place}schema", {"json": _NAMED_SCHEMA.read(read.json_schema, place).schema}
    if read.type == "structural_tag":
        tag = {"structures": read.structures, "triggers": read.triggers}
        yield param, {"structural_tag": tag}


def _renamed(error: RequestError, old: str, new: str) -> RequestError:
    if error.param is None or not error.param.startswith(old):
        return error
    param = new + error.param.removeprefix(old)
    return RequestError(str(error).replace(old, new, 1), param)
