"""JSON schemas of bodies, from the tables of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..field_table import FieldTable

#: Where schemas with names are in the document.
REF = "#/components/schemas/{name}"

Schema = dict[str, Any]

_IMAGE_URL: Schema = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "detail": {"enum": ["auto", "low", "high"]}},
    "required": ["url"],
}
_PART: Schema = {
    "type": "object",
    "description": "A piece of text, or an image by its address, as a data: URL or as https: one.",
    "properties": {
        "type": {"type": "string", "examples": ["text", "image_url"]},
        "text": {"type": "string"},
        "image_url": {"anyOf": [_IMAGE_URL, {"type": ["string", "null"]}]},
        "uuid": {"type": "string"},
    },
    "required": ["type"],
}
_MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {
            "enum": ["system", "developer", "user", "assistant", "tool", "function"],
        },
        "content": {
            "anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": _PART}],
        },
    },
    "required": ["role"],
}
_TEXTS_AND_IDS: Schema = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        {"type": "array", "minItems": 1, "items": {"type": "integer"}},
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "items": {"type": "integer"}},
        },
    ]
}
_TEXTS_AND_PARTS: Schema = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"type": "string", "minLength": 1}, _PART]},
        },
    ]
}
#: Of fields that handlers read by themselves, by the Struct and the field.
_BY_HAND: Mapping[tuple[str, str], Schema] = {
    ("ChatCompletionRequest", "messages"): {"type": "array", "minItems": 1, "items": _MESSAGE},
    ("CompletionRequest", "prompt"): _TEXTS_AND_IDS,
    ("EmbeddingsRequest", "input"): _TEXTS_AND_PARTS,
}


def body_schema(table: FieldTable[Any]) -> Schema:
    """Of the body that a table reads: its fields and no others. Those without effect, and those of
    fixed values, say so; null is every field's default."""
    honoured = table.honoured
    (own,), components = msgspec.json.schema_components([honoured], ref_template=REF)
    schema: Schema = components[own["$ref"].rpartition("/")[2]]
    required = schema.get("required", [])
    fields: dict[str, Schema] = {}
    for name, field in schema["properties"].items():
        given = _BY_HAND.get((honoured.__name__, name))
        fields[name] = given or (field if name in required else _or_null(field))
    for name, why in table.harmless.items():
        fields[name] = {"description": f"Without effect: {why}."}
    for name, values in table.fixed.items():
        fields[name] = {"enum": [*values, None]}
    return {**schema, "properties": fields, "additionalProperties": False}


def answer_schema(answer: type[msgspec.Struct], components: dict[str, Schema]) -> Schema:
    """A reference to a Struct's schema, which is put among the components with all it names."""
    (own,), found = msgspec.json.schema_components([answer], ref_template=REF)
    components |= found
    return own


def _or_null(field: Schema) -> Schema:
    """A field that may be null, too."""
    if "anyOf" in field:
        if {"type": "null"} in field["anyOf"]:
            return field
        return {**field, "anyOf": [*field["anyOf"], {"type": "null"}]}
    if "type" in field:
        return {**field, "type": [field["type"], "null"]}
    if "enum" in field:
        return {**field, "enum": [*field["enum"], None]}
    return field
