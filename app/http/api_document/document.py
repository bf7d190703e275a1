"""The OpenAPI document of the endpoints that a server has (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from starlette.routing import Route

from .... import __version__
from .body_schema import Schema, answer_schema, body_schema
from .operations import OPERATIONS, Operation

_JSON = "application/json"
_CONVERTOR = re.compile(r"\{(\w+):\w+\}")
#: What may come in place of an answer.
_ERRORS = {
    400: "The request is at fault; `param` names the part",
    404: "There is no such model, response or endpoint",
    408: "The body did not come in time",
    409: "What is asked for can't be done in this state",
    411: "The form must come with its length",
    413: "The body is too large",
    415: "The body is of another kind",
    429: "Too much was asked for at once; see Retry-After",
    500: "The server failed",
    502: "An image's own server failed",
    503: "The server is full, or its engine restarts; see Retry-After",
    504: "It took too long",
    507: "There is no room on the disk",
}
#: Of requests without a body.
_ERRORS_OF_GET = (400, 404, 409, 503)


def api_document(routes: Sequence[Route]) -> dict[str, Any]:
    """routes: those that the server has answers for. Raises KeyError for one that OPERATIONS
    doesn't describe."""
    components: dict[str, Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = path_of(route)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            described = OPERATIONS[method, path]
            written = _written(method, path, described, components)
            paths.setdefault(path, {})[method.lower()] = written
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Octavo",
            "version": __version__,
            "description": "Vision-language models behind an API like OpenAI's.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def path_of(route: Route) -> str:
    """As the document has it."""
    return _CONVERTOR.sub(r"{\1}", route.path)


def _written(
    method: str, path: str, described: Operation, components: dict[str, Schema]
) -> dict[str, Any]:
    name = "_".join(re.findall(r"\w+", path))
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}_{name}",
        "summary": described.summary,
    }
    parameters = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string"}}
        for each in re.findall(r"\{(\w+)\}", path)
    ] + [
        {"name": each, "in": "query", "schema": schema} for each, schema in described.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if content := dict(_body(described, components)):
        operation["requestBody"] = {"required": True, "content": content}
    statuses = _ERRORS if content else _ERRORS_OF_GET
    failed = {_JSON: {"schema": answer_schema(described.error, components)}}
    operation["responses"] = {
        "200": {"description": "The answer", "content": _answer(described, components)},
        **{str(status): {"description": _ERRORS[status], "content": failed} for status in statuses},
    }
    return operation


def _body(described: Operation, components: dict[str, Schema]) -> Iterator[tuple[str, Any]]:
    if described.form is not None:
        yield "multipart/form-data", {"schema": dict(described.form)}
    if described.body is not None:
        schema = body_schema(described.body)
        components[schema["title"]] = schema
        yield _JSON, {"schema": {"$ref": f"#/components/schemas/{schema['title']}"}}


def _answer(described: Operation, components: dict[str, Schema]) -> dict[str, Any]:
    if described.answer is None:
        return {described.text or _JSON: {"schema": {}}}
    content: dict[str, Any] = {_JSON: {"schema": answer_schema(described.answer, components)}}
    if described.streams:
        content[described.streamed] = {"schema": {}}
    return content


def encoded(document: dict[str, Any]) -> bytes:
    """As GET /openapi.json gives it."""
    return msgspec.json.encode(document)
