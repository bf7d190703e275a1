"""The page of GET /docs: endpoints and their fields, without a script or a file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import msgspec
from starlette.responses import HTMLResponse

from ..pages.plain_page import plain_page

_STYLE_OF_FIELDS = 'class="soft"'


def docs_page(document: Mapping[str, Any]) -> HTMLResponse:
    """document: see `api_document`."""
    parts = [
        "<h1>Octavo's API</h1>\n",
        f'<p class="soft">Version {escape(document["info"]["version"])}; as a document for '
        'programs: <a href="/openapi.json">/openapi.json</a>.</p>\n',
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"{method.upper()} {path}", operation, document)
    return plain_page("Octavo's API", "".join(parts))


def _operation(
    title: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<h2><code>{escape(title)}</code></h2>\n<p>{escape(operation['summary'])}.</p>\n"
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(content["schema"], document)
        yield f"<p>A body of <code>{escape(media)}</code>:</p>\n<ul>\n"
        required = schema.get("required", [])
        for name, field in schema["properties"].items():
            yield _field(name, field, name in required)
        yield "</ul>\n"


def _field(name: str, field: Mapping[str, Any], is_required: bool) -> str:
    said = ", ".join(filter(None, (_kind(field), "required" if is_required else "")))
    note = field.get("description", "")
    text = f"{said}. {note}" if said and note else said or note
    return f"<li><code>{escape(name)}</code> <span {_STYLE_OF_FIELDS}>{escape(text)}</span></li>\n"


def _kind(field: Mapping[str, Any]) -> str:
    """In words, null left out, which any field may be."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(filter(None, map(_kind, field["anyOf"]))))
    if "enum" in field:
        values = [value for value in field["enum"] if value is not None]
        return " or ".join(msgspec.json.encode(value).decode() for value in values)
    kinds = field.get("type", [])
    named = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(kind for kind in named if kind != "null")


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].split("/")[-1]]
    return found
