"""What every server's application wraps its routes in."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from .request_ids import RequestIds

_SHOWN_HEADERS = (
    *("Retry-After", "X-Request-Id", "Request-Id"),
    *(
        f"X-RateLimit-{what}-{kind}"
        for what in ("Limit", "Remaining", "Reset")
        for kind in ("Requests", "Tokens", "Image-Pixels")
    ),
)


def middleware(allowed_origins: Sequence[str], *within: Middleware) -> list[Middleware]:
    """The outermost first. allowed_origins: see ListenConfig; without any, browsers keep answers
    from the pages of others (https://fetch.spec.whatwg.org/#http-cors-protocol). within: those of
    one server."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=tuple(allowed_origins),
        allow_methods=("GET", "HEAD", "POST", "DELETE"),
        allow_headers=("*",),
        expose_headers=_SHOWN_HEADERS,
    )
    return [*([cors] if allowed_origins else []), Middleware(RequestIds), *within]
