"""Errors that a caller can act on; the faces turn them into their own shape."""

from __future__ import annotations

from .messages import Failure
from .request_error import ImageError, ImageNotCachedError, OneOfMany, RequestError

__all__ = [
    "EngineDeadError",
    "EngineOverloadedError",
    "ImageError",
    "ImageNotCachedError",
    "RequestError",
    "RequestFailedError",
    "RequestTimeoutError",
    "TooManyPromptsError",
    "error_for",
]


class RequestFailedError(OneOfMany, RuntimeError):
    """The engine failed on a request that was good when it arrived."""


class RequestTimeoutError(OneOfMany, TimeoutError):
    """A request ran out of its time. queued: while it still waited to be scheduled."""

    def __init__(self, message: str, queued: bool) -> None:
        super().__init__(message)
        self.queued = queued


class EngineDeadError(RuntimeError):
    """The engine died, and the request with it; it restarts, unless it keeps dying. retry_after:
    seconds until it probably serves again."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyPromptsError(RuntimeError):
    """As much text waits to be tokenised as may."""


class EngineOverloadedError(RuntimeError):
    """As many requests wait as the operator allows."""


def error_for(
    failure: Failure,
) -> RequestError | RequestFailedError | RequestTimeoutError:
    """The exception that tells a caller of a failure."""
    if failure.kind == "invalid":
        return RequestError(failure.message)
    if failure.kind == "failed":
        return RequestFailedError(failure.message)
    return RequestTimeoutError(failure.message, queued=failure.kind == "queue_timeout")
