"""Whether a JSON Schema says what llguidance honours, keyword by keyword."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ....core.contracts.grammars import GrammarError

#: llguidance refuses some values of these itself.
_HONOURED = frozenset(
    [
        "$ref",
        "additionalItems",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "oneOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "properties",
        "required",
        "type",
    ]
)
#: They say nothing of what is valid. A discriminator is OpenAPI's hint which of the `oneOf` to try.
_ANNOTATIONS = frozenset(
    [
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",
        "examples",
        "id",
        "readOnly",
        "title",
        "writeOnly",
    ]
)
_OPTIONS = "x-guidance"
#: llguidance's own name for a format of any text.
_ANY_TEXT = "unknown"
_MAPS_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_SCHEMAS = ("items", "additionalItems", "additionalProperties")
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
#: States of the automaton that counts remainders.
_MAX_MULTIPLE = 10_000


def check_keywords(schema: Any) -> None:
    """Raises GrammarError, which names the keyword and its place."""
    multiples = 1
    for place, found in all_schemas("$", schema):
        for keyword in found:
            vendors = keyword.startswith("x-") and keyword != _OPTIONS
            if keyword not in _HONOURED and keyword not in _ANNOTATIONS and not vendors:
                raise GrammarError(f"the keyword {keyword!r} at {place} is not honoured")
        if found.get("format") == _ANY_TEXT:
            raise GrammarError(f"the format is not one that is known, at {place}.format")
        multiples = math.lcm(multiples, _digits(found.get("multipleOf", 1)))
        if multiples > _MAX_MULTIPLE:
            # Those of several schemas may have to hold together.
            raise GrammarError(
                f"the keyword 'multipleOf' at {place} is too much: the digits of all of them must "
                f"have a common multiple of at most {_MAX_MULTIPLE}"
            )


def subschemas(place: str, schema: Any) -> Iterator[tuple[str, Any]]:
    """Those that a schema has right within it, each with its place."""
    if not isinstance(schema, dict):
        return
    for keyword in _MAPS_OF_SCHEMAS:
        within = schema.get(keyword)
        for name, value in within.items() if isinstance(within, dict) else ():
            yield f"{place}.{keyword}.{name}", value
    for keyword in _LISTS_OF_SCHEMAS:
        within = schema.get(keyword)
        for index, value in enumerate(within if isinstance(within, list) else ()):
            yield f"{place}.{keyword}[{index}]", value
    for keyword in _SCHEMAS:
        if isinstance(schema.get(keyword), dict):
            yield f"{place}.{keyword}", schema[keyword]


def all_schemas(place: str, schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema and all within it."""
    if isinstance(schema, dict):
        yield place, schema
        for inner_place, inner in subschemas(place, schema):
            yield from all_schemas(inner_place, inner)


def _digits(multiple: Any) -> int:
    """12 of 0.012."""
    if isinstance(multiple, bool) or not isinstance(multiple, int | float) or multiple <= 0:
        return 1  # which llguidance refuses
    _, digits, exponent = Decimal(repr(multiple)).as_tuple()
    number = int("".join(map(str, digits)))
    return number * 10**exponent if isinstance(exponent, int) and 0 < exponent < 9 else number
