"""What was asked for, as a grammar in llguidance's Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from llguidance import StructTag, regex_to_lark
from llguidance.gbnf_to_lark import gbnf_to_lark

from ....core.contracts.grammars import GrammarError, GrammarKind, GrammarSource
from .dates import keep_to_calendar
from .schema_keywords import check_keywords

#: Tokens are never forced to be those that a tokenizer would choose: that is the model's choice.
_OPTIONS = '%llguidance {"no_forcing": true}\n'
#: Nothing that isn't honoured is passed over. White space is bounded, as small models fall into
#: writing it for ever: a space or two, or a new line and its indentation.
_JSON_OPTIONS = {
    "lenient": False,
    "coerce_one_of": False,
    "whitespace_pattern": r"\x20{1,2}|\n[\x20\t]{0,40}",
}
#: Of GBNF, whose conversion takes the square of its size.
_MAX_GBNF_BYTES = 2**14
#: What of a Lark grammar is text: strings, comments and regular expressions.
_LITERALS = re.compile(r'"(?:\\.|[^"\\\n])*"|//.*|#.*|/(?:\\.|[^/\\\n])+/')
_ATTRIBUTES = re.compile(r"^[ \t]*[?!]?[\w-]+(?:::[\w-]+)?[ \t]*\[([^\]]*)\][ \t]*:", re.MULTILINE)
_INLINE_SCHEMA = re.compile(r"%json\s*")
_HONOURED_ATTRIBUTES = {"lazy", "suffix"}


def to_lark(source: GrammarSource) -> str:
    """Raises GrammarError for what can be told from the text alone."""
    return _WRITERS[source.kind](source.text)


def _json_schema(text: str) -> str:
    return f"{_OPTIONS}start: %json {json.dumps(_with_options(_read_json(text)))}\n"


def _with_options(schema: Any) -> dict[str, Any]:
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise GrammarError("a JSON Schema is an object")
    check_keywords(schema)
    keep_to_calendar(schema)
    return {**schema, "x-guidance": _JSON_OPTIONS}


def _regex(text: str) -> str:
    """Digits and word characters are those of ASCII, as they are in a schema's patterns."""
    pattern = regex_to_lark(text, use_ascii="dw").replace("\n", "\\n")
    return f"{_OPTIONS}start: /{pattern}/\n"


def _choice(text: str) -> str:
    """A single lexeme, as alternatives of a rule would each be followed on their own."""
    choices = " | ".join(json.dumps(choice) for choice in _read_json(text))
    return f"{_OPTIONS}start: CHOICE\nCHOICE: {choices}\n"


def _grammar(text: str) -> str:
    if "::=" in _bare(text):
        if len(text.encode()) > _MAX_GBNF_BYTES:
            raise GrammarError(f"GBNF may have {_MAX_GBNF_BYTES} bytes; write Lark")
        try:
            return gbnf_to_lark(text) + _OPTIONS
        except Exception as error:  # the library raises bare exceptions
            raise GrammarError(f"the grammar can't be read as GBNF: {error}") from error
    text = _with_schemas(text)
    bare = _bare(text)
    for attributes in _ATTRIBUTES.findall(bare):
        for attribute in attributes.split(","):
            name = attribute.partition("=")[0].strip()
            if name not in _HONOURED_ATTRIBUTES:
                known = " and ".join(sorted(_HONOURED_ATTRIBUTES))
                raise GrammarError(f"the rule attribute {name!r} is not honoured, only {known}")
    if "<" in bare:
        raise GrammarError("special tokens, as in <…>, can't be part of an answer")
    # At the end, so that errors count the lines as the client does.
    return f"{text}\n{_OPTIONS}"


def _bare(text: str) -> str:
    """Without what is text, and the rest in its place."""
    return _LITERALS.sub(lambda match: " " * len(match[0]), text)


def _with_schemas(text: str) -> str:
    """With each `%json` schema checked, and honoured as one alone is."""
    pieces, position = [], 0
    for match in _INLINE_SCHEMA.finditer(_bare(text)):
        if match.start() < position:
            continue
        try:
            schema, end = json.JSONDecoder().raw_decode(text, match.end())
        except ValueError as error:
            raise GrammarError(f"what follows %json is no JSON: {error}") from error
        pieces += [text[position : match.end()], json.dumps(_with_options(schema))]
        position = end
    return "".join([*pieces, text[position:]])


def _structural_tag(text: str) -> str:
    given = _read_json(text)
    if not isinstance(given, dict) or set(given) - {"type"} != {"structures", "triggers"}:
        raise GrammarError("a structural tag has the fields structures and triggers, no others")
    if given.get("type", "structural_tag") != "structural_tag":
        raise GrammarError(f"the type of a structural tag can't be {given['type']!r}")
    structures, triggers = given["structures"], given["triggers"]
    if not _is_list(structures, dict) or not _is_list(triggers, str):
        raise GrammarError("structures must be a list of objects, and triggers one of texts")
    tags = [_tag(structure, triggers) for structure in structures]
    unused = set(triggers) - {tag.trigger for tag in tags}
    if unused:
        raise GrammarError(f"no structure begins with the trigger {min(unused)!r}")
    return StructTag.to_grammar(tags, assume_special=False) + _OPTIONS


def _tag(structure: dict[str, Any], triggers: list[str]) -> StructTag:
    if set(structure) != {"begin", "schema", "end"}:
        raise GrammarError("each of the structures has the fields begin, schema and end")
    begin, schema, end = structure["begin"], structure["schema"], structure["end"]
    if not isinstance(begin, str) or not isinstance(end, str) or not isinstance(schema, dict):
        raise GrammarError("begin and end must be texts, and schema an object")
    trigger = next((t for t in triggers if t and begin.startswith(t)), None)
    if trigger is None:
        raise GrammarError(f"no trigger begins {begin!r}")
    return StructTag(trigger=trigger, begin=begin, grammar=_with_options(schema), end=end)


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, kind) for v in value)


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise GrammarError(f"it is no JSON: {error}") from error


_WRITERS: dict[GrammarKind, Callable[[str], str]] = {
    "json": _json_schema,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
    "structural_tag": _structural_tag,
}
