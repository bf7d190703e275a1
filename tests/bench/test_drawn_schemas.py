"""Schemas that are drawn are schemas, differ, and are the same for the same seed."""

from __future__ import annotations

import json

import jsonschema
from octavo.bench.drawn_schemas import draw_schemas


def test_they_are_schemas_of_many_kinds() -> None:
    drawn = draw_schemas(300, 1)
    assert draw_schemas(300, 1) == drawn
    assert len({json.dumps(schema, sort_keys=True) for schema in drawn}) == 300
    for schema in drawn:
        jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(drawn)
    for keyword in ("anyOf", "oneOf", "allOf", "$ref", "prefixItems", "pattern", "format", "enum"):
        assert f'"{keyword}":' in text
