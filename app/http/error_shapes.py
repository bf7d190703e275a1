"""What tells of an error in the shapes of other APIs than OpenAI's, by the path that was asked."""

from __future__ import annotations

from typing import Any

from starlette.types import Scope

_MESSAGES = "/v1/messages"
_OLLAMA = "/api/"
#: Of Anthropic's API, by status.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def asks_for_messages(scope: Scope) -> bool:
    """Whether the request is one of Anthropic's API."""
    path: str = scope["path"]
    return path == _MESSAGES or path.startswith(f"{_MESSAGES}/")


def shaped(scope: Scope, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """body: in OpenAI's shape."""
    if asks_for_messages(scope):
        return anthropic_error(scope, status, body)
    return ollama_error(body) if scope["path"].startswith(_OLLAMA) else body


def anthropic_error(scope: Scope, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """The same in Anthropic's, whose messages name the field at fault, too."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": body["error"]["message"]},
        "request_id": scope.get("state", {}).get("request_id"),
    }


def ollama_error(body: dict[str, Any]) -> dict[str, Any]:
    """The same in Ollama's."""
    return {"error": body["error"]["message"]}
