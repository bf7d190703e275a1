"""Errors and their status, in the shape of the API that was asked; OpenAI's unless its path says
otherwise."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from ...core.protocol.errors import (
    EngineDeadError,
    EngineOverloadedError,
    ImageError,
    ImageNotCachedError,
    RequestError,
    RequestFailedError,
    RequestTimeoutError,
    TooManyPromptsError,
)
from ..tenants.account import LimitError
from .audit import log_refusal
from .error_shapes import shaped

#: What the engine may raise while a good request runs.
ENGINE_ERRORS = (
    EngineDeadError,
    EngineOverloadedError,
    RequestError,
    RequestFailedError,
    RequestTimeoutError,
    TooManyPromptsError,
)
_RETRY_AFTER_S = 1
#: By the kind of an image's error: 429 where too many are read at once, 502 and 504 where its
#: own server fails or takes too long.
_IMAGE_STATUS = {
    "invalid": (400, "invalid_image"),
    "busy": (429, "too_many_images"),
    "unavailable": (502, "image_unavailable"),
    "timeout": (504, "image_timeout"),
}


class HttpError(Exception):
    """An error with its status and the part of the request at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, object]:
    """The JSON that OpenAI's clients turn into an exception."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(
    scope: Scope, body: dict[str, object], status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that tells of an error. scope: of its request. body: as `error_body` makes it."""
    return JSONResponse(shaped(scope, status, body), status_code=status, headers=headers)


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Answer an HttpError."""
    assert isinstance(error, HttpError)
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    body = error_body(str(error), kind, error.param, error.code)
    return error_response(request.scope, body, error.status, error.headers)


async def handle_engine_error(request: Request, error: Exception) -> Response:
    """Answer what the engine raised: 400 for what could never run, 503 or 429 with Retry-After
    for what may go well later, 504 for a request that took too long, 500 for a failure."""
    status, body = engine_error_body(error)
    seconds = getattr(error, "retry_after", None) or _RETRY_AFTER_S
    headers = {"Retry-After": str(seconds)} if status in (429, 503) else None
    return error_response(request.scope, body, status, headers)


def engine_error_body(error: Exception) -> tuple[int, dict[str, object]]:
    """The status and the body that tell of what the engine raised."""
    status, code = _status_of(error)
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, error_body(str(error), kind, getattr(error, "param", None), code)


def _status_of(error: Exception) -> tuple[int, str | None]:
    if isinstance(error, ImageError):
        return _IMAGE_STATUS[error.kind]
    if isinstance(error, RequestError):
        return 400, "image_not_cached" if isinstance(error, ImageNotCachedError) else None
    if isinstance(error, RequestFailedError):
        return 500, None
    if isinstance(error, RequestTimeoutError):
        return (503, "queue_timeout") if error.queued else (504, "timeout")
    if isinstance(error, TooManyPromptsError):
        return 429, "too_many_prompts"
    return 503, "overloaded" if isinstance(error, EngineOverloadedError) else "engine_dead"


async def handle_limit_error(request: Request, error: Exception) -> Response:
    """Answer a LimitError, in OpenAI's words; clients send the request again by themselves, unless
    that would be in vain."""
    assert isinstance(error, LimitError)
    log_refusal(request, 429, f"key {request.state.account.name}: {error}")
    body = error_body(str(error), error.kind, None, "rate_limit_exceeded")
    if error.retry_after is None:
        headers = {"x-should-retry": "false"}
    else:
        headers = {"Retry-After": str(math.ceil(error.retry_after))}
    return error_response(request.scope, body, 429, headers)


async def handle_disconnect(request: Request, error: Exception) -> Response:
    """End a request whose client has gone; nobody reads the answer."""
    return Response(status_code=499)


async def handle_not_found(request: Request, error: Exception) -> Response:
    """Answer an unknown path, or a method that a path doesn't have."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path} is not part of this API"
    headers = None
    if error.headers is not None and "Allow" in error.headers:
        allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))
        message += f"; use {allowed}"
        headers = {"Allow": allowed}
    body = error_body(message, "invalid_request_error", None, None)
    return error_response(request.scope, body, error.status_code, headers)


#: For every server's application.
EXCEPTION_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    HttpError: handle_http_error,
    LimitError: handle_limit_error,
    ClientDisconnect: handle_disconnect,
    HTTPException: handle_not_found,
    **dict.fromkeys(ENGINE_ERRORS, handle_engine_error),
}
