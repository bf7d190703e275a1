"""A picture's bytes from a stream, no more of it than need be."""

from __future__ import annotations

from collections.abc import Callable

from ....core.protocol.media_limits import MediaLimits
from ..picture import PictureError
from .formats import HEAD, check_picture


def read_picture(
    read: Callable[[int], bytes], num_bytes: int, name: str, was_named: bool, limits: MediaLimits
) -> bytes:
    """All that `read` gives, if it is a picture; else no more than its first HEAD bytes are read.

    read: up to a number of bytes; fewer, if more follow later; none at the end. num_bytes: that
    there should be. Raises PictureError or NotAPictureError, and what `read` raises.
    """
    head = _read(read, HEAD)
    check_picture(head, name, was_named)
    check_size(num_bytes, limits)
    data = head + _read(read, limits.max_bytes + 1 - len(head))
    check_size(len(data), limits)
    return data


def check_size(num_bytes: int, limits: MediaLimits) -> None:
    """Raises PictureError for too many bytes."""
    if num_bytes > limits.max_bytes:
        raise PictureError(
            f"it has {num_bytes} bytes, more than the {limits.max_bytes} allowed; raise "
            "--max-image-bytes (max_image_bytes), or make it smaller"
        )


def _read(read: Callable[[int], bytes], num_bytes: int) -> bytes:
    parts = []
    while num_bytes > 0 and (part := read(num_bytes)):
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)
