"""Errors that a caller can act on; the faces turn them into their own shape."""

from __future__ import annotations


class RequestError(ValueError):
    """A request that can't be served as it is.

    param: the part at fault, such as "max_tokens" or "messages[0].content[1].image_url".
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class EngineDeadError(RuntimeError):
    """The engine has stopped and can't take or finish requests."""


class RequestFailedError(RuntimeError):
    """The engine failed on a request that was good when it arrived."""
