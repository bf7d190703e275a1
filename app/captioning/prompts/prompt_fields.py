"""The fields of a prompt beside its text: how it is answered, and what is made of the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_type_hints

import msgspec

from ....core.protocol.constraints.structured_outputs import StructuredOutputsParams
from ....core.protocol.request_error import RequestError
from ....core.protocol.sampling_params import SamplingParams
from ....core.protocol.setting import nearest
from .postprocess import PostProcess
from .template import Template

#: From the name of a field to what it is called in errors, such as "--top-p" for "top_p".
Label = Callable[[str], str]

DEFAULT_MAX_TOKENS = 64
#: Of answers under a schema, which are worth nothing if they are cut.
DEFAULT_MAX_TOKENS_OF_JSON = 512

_SAMPLING_HINTS = get_type_hints(SamplingParams)
#: What is given to SamplingParams. The rest of its fields would be computed and not shown.
SAMPLING: dict[str, Any] = {
    **{
        name: _SAMPLING_HINTS[name]
        for name in (
            *("temperature", "top_p", "top_k", "min_p"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty"),
            *("min_tokens", "stop"),
        )
    },
    "max_tokens": int,
    "seed": int,
}
POSTPROCESS: dict[str, Any] = {
    "strip": bool,
    "max_words": int,
    "prefix": str,
    "suffix": str,
    "trigger_words": tuple[str, ...],
}
#: What may be said for all prompts at once.
SHARED: dict[str, Any] = {"system": str, "schema": dict[str, Any], **SAMPLING, **POSTPROCESS}
#: Of one prompt.
OWN: dict[str, Any] = {"text": str, "choices": tuple[str, ...], "examples": tuple[Any, ...]}
#: What would end an answer under a schema early, or leave no JSON of it.
_NOT_WITH_SCHEMA = (
    *("choices", "stop", "min_tokens"),
    *("max_words", "prefix", "suffix", "trigger_words"),
)
_LOOKS_LIKE_FIELD = re.compile(r"\{\w[\w.]*(?:\|[^{}]*)?\}")
_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict[str, Any]: "a JSON Schema, as a table",
    tuple[str, ...]: "a list of texts (in quotes, where a word such as yes means another thing)",
    tuple[Any, ...]: "a list of tables with image and answer",
}


def read_fields(given: Mapping[str, Any], known: Mapping[str, Any], label: Label) -> dict[str, Any]:
    """The fields in their types. Raises RequestError for what isn't known, or can't be."""
    refuse_unknown(given, known, label)
    fields = {name: _convert(value, known[name], label(name)) for name, value in given.items()}
    for name, value in fields.items():
        check_unicode(value, label(name))
    if "schema" in fields:
        form_of(fields, label)
    check_sampling(fields, label)
    for name in ("text", "system"):
        if name in fields:
            Template(fields[name], label(name))
    if fields.get("max_words", 1) < 1:
        raise RequestError(f"{label('max_words')} must be at least 1, got {fields['max_words']}")
    for name in ("choices", "trigger_words"):
        if name in fields:
            fields[name] = _read_words(fields[name], label(name))
    if len(fields.get("choices", "ab")) < 2:
        raise RequestError(f"{label('choices')} needs two answers or more to choose from")
    for name in ("prefix", "suffix", "trigger_words"):
        _refuse_template(fields.get(name, ""), label(name))
    return fields


def refuse_unknown(given: Mapping[str, Any], known: Collection[str], label: Label) -> None:
    """Raises RequestError that says which field was meant."""
    for name in given:
        if name not in known:
            raise RequestError(
                f"{label(str(name))} is no field that is known here{nearest(str(name), known)}; "
                f"known: {', '.join(known)}"
            )


def check_unicode(value: Any, label: str) -> None:
    """Raises RequestError for a text that no tokenizer takes, in a list of texts or alone."""
    for text in value if isinstance(value, tuple) else [value]:
        try:
            str(text).encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"{label} must be UTF-8, got {text!r}") from error


def sampling_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that differ from the model's defaults."""
    return {name: fields[name] for name in SAMPLING if name in fields}


def form_of(fields: Mapping[str, Any], label: Label) -> StructuredOutputsParams | None:
    """What keeps answers to their schema, if there is one. Raises RequestError for one that can't
    be, and for what answers under it can't be joined with."""
    if "schema" not in fields:
        return None
    for name in _NOT_WITH_SCHEMA:
        if fields.get(name):
            raise RequestError(f"{label(name)} can't be joined with {label('schema')}")
    try:
        return StructuredOutputsParams(json=fields["schema"])
    except RequestError as error:
        reason = str(error).removeprefix(error.param or "").strip()
        raise RequestError(f"{label('schema')} {reason}") from error


def postprocess_of(fields: Mapping[str, Any]) -> PostProcess:
    """What is made of the answers."""
    return PostProcess(**{name: fields[name] for name in POSTPROCESS if name in fields})


def _convert(value: Any, hint: Any, label: str) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise RequestError(f"{label} must be {_KINDS[hint]}, got {value!r}") from error


def check_sampling(fields: Mapping[str, Any], label: Label) -> None:
    """Raises RequestError for a value that can't be."""
    given = sampling_of(fields)
    try:
        SamplingParams(**{"max_tokens": None, **given})
    except RequestError as error:
        name = error.param or ""
        raise RequestError(label(name) + str(error).removeprefix(name)) from error


def _read_words(words: tuple[str, ...], label: str) -> tuple[str, ...]:
    stripped = tuple(word.strip() for word in words)
    if not all(stripped):
        raise RequestError(f"{label} has one that is empty")
    for word in stripped:
        if stripped.count(word) > 1:
            raise RequestError(f"{label} has {word!r} twice")
    return stripped


def _refuse_template(value: str | tuple[str, ...], label: str) -> None:
    """What would be written into each caption as it is."""
    for text in [value] if isinstance(value, str) else value:
        if _LOOKS_LIKE_FIELD.search(text):
            raise RequestError(
                f"{label} is written as it is, and {text!r} asks for a fact of each picture; only "
                "prompts and system prompts can"
            )
