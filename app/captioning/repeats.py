"""Pictures with the content of others: each content is captioned once."""

from __future__ import annotations

import os
import threading

from .journal import Entry, Journal
from .picture import Picture


class Repeats:
    """What was asked of which content, and what came of it. Several threads may use it.

    dedupe: whether any picture with the content of another takes over its caption; else only one
        whose file has been moved, as that of the other is gone.
    """

    def __init__(self, journal: Journal, dedupe: bool) -> None:
        self._journal = journal
        self._dedupe = dedupe
        self._lock = threading.Lock()
        self._running: dict[bytes, Picture] = {}

    def claim(self, asked: bytes, picture: Picture) -> bool:
        """Whether a picture is to be captioned; else another one is, or has been, whose answer it
        takes over."""
        with self._lock:
            other = self._running.get(asked)
            if other is None:
                if self.find(asked) is None:
                    self._running[asked] = picture
                    return True
                return False
        return not self._dedupe

    def find(self, asked: bytes) -> Entry | None:
        """What a picture takes over, once it is in the journal."""
        entry = self._journal.find(asked)
        return entry if entry is not None and (self._dedupe or _is_gone(entry)) else None

    def is_running(self, asked: bytes) -> bool:
        """Whether an answer is yet to come."""
        return asked in self._running

    def settle(self, asked: bytes) -> None:
        """A picture that was claimed has ended, and if it was captioned, is in the journal."""
        self._running.pop(asked, None)


def _is_gone(entry: Entry) -> bool:
    return entry.path is not None and not os.path.lexists(entry.path)
