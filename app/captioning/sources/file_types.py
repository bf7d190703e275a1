"""What a path leads to, other than regular files."""

from __future__ import annotations

import stat

_TYPES = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISLNK, "link"),
)


def file_type(mode: int) -> str:
    """Of what is no regular file, for people: "FIFO", "socket", "device" and so on."""
    return next((name for is_type, name in _TYPES if is_type(mode)), "device")
