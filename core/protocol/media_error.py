"""The error of an image that can't be used."""

from __future__ import annotations

from typing import Literal

#: "invalid": this image will never do; "busy": too many are being prepared; "unavailable": its
#: server failed; "timeout": its server took too long.
MediaErrorKind = Literal["invalid", "busy", "unavailable", "timeout"]


class MediaError(ValueError):
    """An image that can't be used, and why; the message says what to do about it. retry_after:
    seconds after which it may be, where that is known."""

    def __init__(
        self, message: str, kind: MediaErrorKind = "invalid", retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.kind: MediaErrorKind = kind
        self.retry_after = retry_after
