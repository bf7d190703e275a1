"""The fields of a row that are written, chosen by --fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ....core.protocol.errors import RequestError
from .output_options import OutputOptions
from .row import Row

Kind = Literal["text", "integer", "any"]

FILE = "file"
ERROR = "error"
_FACTS: dict[str, Kind] = {
    "width": "integer",
    "height": "integer",
    "digest": "text",
    "duplicate_of": "text",
}
_FACTS_BY_PROMPT: dict[str, Kind] = {
    "finish_reason": "text",
    "prompt_tokens": "integer",
    "completion_tokens": "integer",
}


@dataclass(frozen=True, slots=True)
class Field:
    """source: where in a row it is found. kind: "any" of a table's column, which may hold whatever
    JSON has. prompt: whose fact it is, for one that each prompt has."""

    name: str
    source: Literal["file", "error", "text", "fact"]
    kind: Kind = "text"
    fact: str = ""
    prompt: str = ""

    def of(self, row: Row) -> Any:
        """Plain data; None if the row has none."""
        if self.source == "file":
            return row.name
        if self.source == "error":
            return row.error
        if self.source == "text":
            return row.texts.get(self.prompt)
        value = row.facts.get(self.fact)
        return value.get(self.prompt) if self.prompt and value is not None else value


def record(row: Row, fields: Sequence[Field]) -> dict[str, Any]:
    """What is written of a row, without what it hasn't."""
    values = ((field.name, field.of(row)) for field in fields)
    return {name: value for name, value in values if value is not None}


def choose_fields(options: OutputOptions) -> tuple[Field, ...]:
    """The fields that an output has, in order. Raises RequestError for unknown ones, and for a
    prompt that is called as a field is."""
    own = {FILE, ERROR, *_FACTS, *_FACTS_BY_PROMPT}
    for prompt in options.prompts:
        if prompt in own:
            raise RequestError(f"a prompt can't be called {prompt!r}, as a field is; rename it")
    names = options.fields or (FILE, *options.prompts, ERROR)
    if ERROR not in names and not options.failures_elsewhere:
        names = (*names, ERROR)
    chosen = [field for name in names for field in _fields_called(name, options)]
    seen = [field.name for field in chosen]
    for name in seen:
        if seen.count(name) > 1:
            raise RequestError(f"--fields: {name!r} is there twice")
    return tuple(chosen)


def _fields_called(name: str, options: OutputOptions) -> Iterator[Field]:
    if name == FILE:
        yield Field(name, "file")
    elif name == ERROR:
        yield Field(name, "error")
    elif name in options.prompts:
        yield Field(name, "text", prompt=name)
    elif name in _FACTS:
        yield Field(name, "fact", _FACTS[name], fact=name)
    elif name in _FACTS_BY_PROMPT:
        yield from _by_prompt(name, options.prompts)
    elif options.columns is None or name in options.columns:
        yield Field(name, "fact", "any", fact=name)
    else:
        known = (FILE, *options.prompts, ERROR, *_FACTS, *_FACTS_BY_PROMPT, *options.columns)
        raise RequestError(
            f"--fields: there is no field {name!r}; there are {', '.join(dict.fromkeys(known))}"
        )


def _by_prompt(fact: str, prompts: Sequence[str]) -> Iterator[Field]:
    """One field, or one for each of several prompts, such as "finish_reason.tags"."""
    for prompt in prompts:
        name = fact if len(prompts) == 1 else f"{fact}.{prompt}"
        yield Field(name, "fact", _FACTS_BY_PROMPT[fact], fact, prompt)
