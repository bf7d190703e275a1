"""Errors in OpenAI's shape."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core.engine.errors import EngineDeadError, RequestError


class HttpError(Exception):
    """An error with its status and the part of the request at fault."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, object]:
    """The JSON that OpenAI's clients turn into an exception."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Answer an HttpError."""
    assert isinstance(error, HttpError)
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    body = error_body(str(error), kind, error.param, error.code)
    return JSONResponse(body, status_code=error.status)


async def handle_request_error(request: Request, error: Exception) -> Response:
    """Answer a RequestError with 400."""
    assert isinstance(error, RequestError)
    body = error_body(str(error), "invalid_request_error", error.param, None)
    return JSONResponse(body, status_code=400)


async def handle_unavailable(request: Request, error: Exception) -> Response:
    """Answer an engine failure: 503 if it is gone, 500 if it failed on this request."""
    status = 503 if isinstance(error, EngineDeadError) else 500
    return JSONResponse(error_body(str(error), "server_error", None, None), status_code=status)


async def handle_disconnect(request: Request, error: Exception) -> Response:
    """End a request whose client has gone; nobody reads the answer."""
    return Response(status_code=499)


async def handle_not_found(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method."""
    status = getattr(error, "status_code", 404)
    message = f"{request.method} {request.url.path} is not part of this API"
    return JSONResponse(
        error_body(message, "invalid_request_error", None, None), status_code=status
    )
