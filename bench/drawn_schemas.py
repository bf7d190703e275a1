"""JSON Schemas of many kinds, drawn at random."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_NAMES = ("a", "b", "name", "größe", "x y")
_VALUES: tuple[Any, ...] = (
    "yes",
    "no",
    "naïve",
    "日本",
    "two words",
    3,
    -1,
    2.5,
    True,
    None,
    [1],
    {},
)
_FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "zzz")
_PATTERNS = ("^[A-F]{2}-\\d{3}$", "q", "^(foo|bar)+$", "^\\S+@\\S+$", "\\d$", "(?=a)b")
#: Levels of arrays, objects and alternatives.
_DEPTH = 3
_REFERENCE = "#/$defs/shared"


def draw_schemas(count: int, seed: int) -> list[Schema]:
    """So many that differ; the same ones for the same seed."""
    draw = random.Random(seed)
    drawn: dict[str, Schema] = {}
    while len(drawn) < count:
        shared = _closed({"s": _string(draw), "t": _types(draw)})
        schema = _schema(draw, _DEPTH)
        if _REFERENCE in json.dumps(schema):
            schema = {**schema, "$defs": {"shared": shared}}
        drawn.setdefault(json.dumps(schema, sort_keys=True), schema)
    return list(drawn.values())


def _schema(draw: random.Random, depth: int) -> Schema:
    flat: list[Callable[[random.Random], Schema]] = [_integer, _number, _string, _enum, _types]
    deep: list[Callable[[random.Random, int], Schema]]
    deep = [_array, _tuple, _object, _object, _object, _combined]
    if depth < _DEPTH and draw.random() < 0.04:
        return {"$ref": _REFERENCE}
    if depth == 0 or draw.random() < 0.4:
        return draw.choice(flat)(draw)
    if draw.random() < 0.03:
        return _refused(draw, depth - 1)
    return draw.choice(deep)(draw, depth - 1)


def _closed(properties: Schema) -> Schema:
    """An object that has all of these and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _some(draw: random.Random, **keywords: Any) -> Schema:
    """Each of the keywords, or not."""
    return {name: value for name, value in keywords.items() if draw.random() < 0.5}


def _integer(draw: random.Random) -> Schema:
    least, most = draw.randint(-1000, 0), draw.randint(30, 5000)
    multiple = draw.choice((2, 7, 25))
    return {"type": "integer", **_some(draw, minimum=least, maximum=most, multipleOf=multiple)}


def _number(draw: random.Random) -> Schema:
    least, most = draw.randint(-50, 0), draw.choice((0.5, 7, 99.75))
    return {"type": "number", **_some(draw, exclusiveMinimum=least, maximum=most)}


def _string(draw: random.Random) -> Schema:
    kind = draw.choice(("length", "pattern", "format"))
    if kind == "length":
        least, most = draw.randint(0, 4), draw.randint(4, 12)
        return {"type": "string", "maxLength": most, **_some(draw, minLength=least)}
    if kind == "pattern":
        found = {"type": "string", "pattern": draw.choice(_PATTERNS)}
        return {**found, **_some(draw, maxLength=draw.randint(8, 20))}
    return {"type": "string", "format": draw.choice(_FORMATS)}


def _enum(draw: random.Random) -> Schema:
    if draw.random() < 0.3:
        return {"const": draw.choice(_VALUES)}
    return {"enum": draw.sample(_VALUES, draw.randint(1, 5))}


def _types(draw: random.Random) -> Schema:
    return {"type": draw.sample(("boolean", "null", "integer"), draw.randint(1, 3))}


def _array(draw: random.Random, depth: int) -> Schema:
    items, most = _schema(draw, depth), draw.randint(1, 3)
    return {"type": "array", "items": items, "maxItems": most, **_some(draw, minItems=1)}


def _tuple(draw: random.Random, depth: int) -> Schema:
    prefix = [_schema(draw, depth) for _ in range(draw.randint(1, 3))]
    return {"type": "array", "prefixItems": prefix, "items": False}


def _object(draw: random.Random, depth: int) -> Schema:
    names = draw.sample(_NAMES, draw.randint(1, 4))
    required = [name for name in names if draw.random() < 0.7]
    others: Any = draw.choice((False, False, False, {"type": "boolean"}))
    most = {"maxProperties": len(names) + 1} if others and required == names else {}
    return {
        "type": "object",
        "properties": {name: _schema(draw, depth) for name in names},
        "required": required,
        "additionalProperties": others,
        **most,
    }


def _combined(draw: random.Random, depth: int) -> Schema:
    """Alternatives, or what an object has beside another schema."""
    word = draw.choice(("anyOf", "anyOf", "oneOf", "allOf"))
    if word != "allOf":
        return {word: [_schema(draw, depth) for _ in range(draw.randint(2, 3))]}
    first = {**_object(draw, depth), "additionalProperties": True}
    first.pop("maxProperties", None)
    more = {"type": "object", "required": ["z"], "properties": {"z": _schema(draw, depth)}}
    return {"allOf": [first, more]}


def _refused(draw: random.Random, depth: int) -> Schema:
    """What llguidance doesn't know."""
    inner = _schema(draw, depth)
    return draw.choice(
        (
            {"not": inner},
            {"if": inner, "then": inner},
            {"type": "array", "contains": inner},
            {"type": "array", "items": inner, "uniqueItems": True},
            {"type": "object", "propertyNames": {"maxLength": 3}},
        )
    )
