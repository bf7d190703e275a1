"""Pictures as they come into an album, with names that can be shown and limits that hold."""

from __future__ import annotations

from ....core.protocol.media_limits import MediaLimits
from ...captioning.picture import BrokenAt, Location, printable
from ..parts.picture_parts import MAX_BYTES
from .album import Entry, State

LIMITS = MediaLimits(max_bytes=MAX_BYTES)


def entry_of(name: str, path: str, at: Location, num_bytes: int) -> Entry:
    """One that begins as a picture does."""
    entry = Entry(printable(name), printable(path), at, num_bytes)
    if num_bytes > MAX_BYTES:
        size = f"{num_bytes / 2**20:.0f} MiB"
        entry.become(State.UNREADABLE, f"it has {size}; the page takes {MAX_BYTES // 2**20} MiB")
    return entry


def unreadable(name: str, reason: str) -> Entry:
    """One that is no picture."""
    entry = Entry(printable(name), printable(name), BrokenAt(reason), 0, thumbnail="")
    entry.become(State.UNREADABLE, reason)
    return entry
