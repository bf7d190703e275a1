"""The error of a request that can't be served as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Self

from .media_error import MediaError, MediaErrorKind

if TYPE_CHECKING:
    from .outputs import RequestOutput


class OneOfMany:
    """Of an error about one of several requests that were given together.

    index: its place among them; None for one alone.
    outputs: what became of them all, if they ran: an output, or None for one that failed.
    """

    index: int | None = None
    outputs: Sequence[RequestOutput | None] = ()
    args: tuple[object, ...]

    def __reduce__(self) -> tuple[object, ...]:
        """What `pickle` keeps, for an error that a process tells another of: all but its making."""
        return _unmade, (type(self),), {**self.__dict__, "args": self.args}


def _unmade(kind: type[OneOfMany]) -> OneOfMany:
    return kind.__new__(kind)


class RequestError(OneOfMany, ValueError):
    """A request that can't be served as it is.

    param: the part at fault, such as "max_tokens" or "messages[0].content[1].image_url".
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    def renamed(self, param: str) -> Self:
        """The same error, by another name of the part at fault."""
        error = copy(self)
        error.args = (str(self).replace(self.param, param) if self.param else str(self),)
        error.param = param
        return error


class ImageError(RequestError):
    """An image of a request can't be had or used. kind, retry_after: see MediaError."""

    def __init__(self, error: MediaError, param: str) -> None:
        super().__init__(f"{param}: {error}", param)
        self.kind: MediaErrorKind = error.kind
        self.retry_after = error.retry_after


@contextmanager
def naming_image(param: str) -> Iterator[None]:
    """Raises ImageError for a MediaError inside."""
    try:
        yield
    except MediaError as error:
        raise ImageError(error, param) from error


class ImageNotCachedError(RequestError):
    """An image that a request names without showing it is not known, or no longer."""

    def __init__(self, uuid: str, param: str) -> None:
        message = f"{param}: no image is kept under uuid {uuid!r}, or no longer; send it again"
        super().__init__(message, param)
