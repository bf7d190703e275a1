"""The OpenAPI document of the endpoints that a server has (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from starlette.routing import Route

from .... import __version__
from ..key_check import FOR_ADMINS, FREE
from .body_schema import Schema, answer_schema, body_schema
from .operations import OPERATIONS, Operation

_JSON = "application/json"
_CONVERTOR = re.compile(r"\{(\w+):\w+\}")
#: What may come in place of an answer.
_ERRORS = {
    400: "The request is at fault; `param` names the part",
    401: "No API key was sent, or one that is not valid",
    403: "It is for other keys",
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
#: That only a server with API keys answers.
_ERRORS_OF_KEYS = (401, 403)
#: Of requests without a body.
_ERRORS_OF_GET = (400, 404, 409, 503)
#: How a key may be sent; either will do.
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def api_document(routes: Sequence[Route], has_keys: bool) -> dict[str, Any]:
    """routes: those that the server has answers for. has_keys: whether it asks for API keys. Raises
    KeyError for one that OPERATIONS doesn't describe."""
    components: dict[str, Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = path_of(route)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            described = OPERATIONS[method, path]
            written = _written(method, path, described, components)
            if has_keys:
                _add_keys(written, method, path)
            paths.setdefault(path, {})[method.lower()] = written
    security: dict[str, Any] = {}
    if has_keys:
        security["security"] = [{name: []} for name in _SCHEMES]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Octavo",
            "version": __version__,
            "description": "Vision-language models behind an API like OpenAI's.",
        },
        **security,
        "paths": paths,
        "components": {
            "schemas": components,
            **({"securitySchemes": _SCHEMES} if has_keys else {}),
        },
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
    with_body = [status for status in _ERRORS if status not in _ERRORS_OF_KEYS]
    failed = answer_schema(described.error, components)
    operation["responses"] = {
        "200": {"description": "The answer", "content": _answer(described, components)},
        **_failures(with_body if content else _ERRORS_OF_GET, failed),
    }
    return operation


def _add_keys(operation: dict[str, Any], method: str, path: str) -> None:
    """What of an operation is otherwise where keys are in use."""
    if path in FREE:
        operation["security"] = []
        return
    limits = [429] if method == "POST" else []
    responses = operation["responses"]
    failed = responses["400"]["content"][_JSON]["schema"]
    statuses = [401, *([403] if path in FOR_ADMINS else []), *limits]
    operation["responses"] = dict(sorted((responses | _failures(statuses, failed)).items()))


def _failures(statuses: Sequence[int], schema: Schema) -> dict[str, Any]:
    content = {_JSON: {"schema": schema}}
    return {str(s): {"description": _ERRORS[s], "content": content} for s in statuses}


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
