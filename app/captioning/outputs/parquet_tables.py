"""Rows as Arrow's tables: which type a column has, and values of that type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .fields import Field
from .row import Row

if TYPE_CHECKING:
    import pyarrow

_INT64 = range(-(2**63), 2**63)


def schema_of(
    fields: Sequence[Field],
    rows: Callable[[], Iterator[Row]],
    before: pyarrow.Schema | None,
    header: dict[str, Any],
) -> pyarrow.Schema:
    """A column of a table has the type that all its values have, those of the schema `before`
    too, or is text: then what is no text is JSON. The header's parts are metadata, as JSON."""
    import pyarrow

    untyped = [field for field in fields if field.kind == "any"]
    found = _kinds_of(rows(), untyped) if untyped else {}
    types: dict[type | None, pyarrow.DataType] = {
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    columns = []
    for field in fields:
        if field.kind == "any":
            arrow_type = types.get(found[field.name], pyarrow.string())
            if before is not None and before.field(field.name).type != arrow_type:
                arrow_type = pyarrow.string()
        else:
            arrow_type = pyarrow.int64() if field.kind == "integer" else pyarrow.string()
        columns.append((field.name, arrow_type))
    metadata = {key: msgspec.json.encode(value) for key, value in header.items()}
    return pyarrow.schema(columns, metadata=metadata)


def fits(schema: pyarrow.Schema, fields: Sequence[Field]) -> bool:
    """Whether rows with these fields can be added to a table that has this schema."""
    from pyarrow import types

    def is_of(kind: str, arrow_type: pyarrow.DataType) -> bool:
        if kind == "integer":
            return any(is_one(arrow_type) for is_one in (types.is_integer, types.is_null))
        if kind == "any" and types.is_primitive(arrow_type):
            return True
        texts = (types.is_string, types.is_large_string, types.is_null)
        return any(is_one(arrow_type) for is_one in texts)

    return schema.names == [field.name for field in fields] and all(
        is_of(field.kind, column.type) for field, column in zip(fields, schema, strict=True)
    )


def to_table(rows: Iterable[Row], fields: Sequence[Field], schema: pyarrow.Schema) -> pyarrow.Table:
    """Of a schema that `schema_of` made."""
    import pyarrow

    rows = list(rows)
    arrays = []
    for field, column in zip(fields, schema, strict=True):
        values = [field.of(row) for row in rows]
        if pyarrow.types.is_string(column.type):
            values = [_as_text(value) for value in values]
        arrays.append(pyarrow.array(values, column.type))
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def to_schema(batch: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.Table:
    """Rows of a table that `fits`, with the types of another schema."""
    import pyarrow

    return pyarrow.Table.from_batches([batch]).cast(schema)


def _kinds_of(rows: Iterator[Row], fields: Sequence[Field]) -> dict[str, type | None]:
    """The type of all values of a field; None if there is no single one that a column can have."""
    seen: dict[str, set[type | None]] = {field.name: set() for field in fields}
    for row in rows:
        for field in fields:
            value = field.of(row)
            if value is not None:
                seen[field.name].add(_kind(value))
    return {name: _common(kinds) for name, kinds in seen.items()}


def _kind(value: Any) -> type | None:
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return None
    return type(value)


def _common(kinds: set[type | None]) -> type | None:
    if kinds == {int, float}:
        return float
    return next(iter(kinds)) if len(kinds) == 1 else None


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
