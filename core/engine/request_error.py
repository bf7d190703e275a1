"""The error of a request that can't be served as it is."""

from __future__ import annotations


class RequestError(ValueError):
    """A request that can't be served as it is.

    param: the part at fault, such as "max_tokens" or "messages[0].content[1].image_url".
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
