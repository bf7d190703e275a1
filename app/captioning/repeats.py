"""Pictures with the content of others: each content is captioned once."""

from __future__ import annotations

import os
import threading
from typing import NamedTuple

from .journal import Entry, Journal


class Claim(NamedTuple):
    """is_new: the picture is to be captioned. Else it takes over `known`, or, without that, what
    is yet to come of another one that runs."""

    is_new: bool
    known: Entry | None = None


class Repeats:
    """What was asked of which content, and what came of it. Several threads may use it.

    dedupe: whether any picture with the content of another takes over its caption; else only one
        whose file has been moved, as that of the other is gone.
    """

    def __init__(self, journal: Journal, dedupe: bool) -> None:
        self._journal = journal
        self._dedupe = dedupe
        self._lock = threading.Lock()
        self._running: set[bytes] = set()

    def claim(self, asked: bytes) -> Claim:
        """For a picture that has been read."""
        with self._lock:
            if asked in self._running:
                return Claim(is_new=not self._dedupe)
            entry = self._journal.find(asked)
            if entry is not None and (self._dedupe or _is_gone(entry)):
                return Claim(is_new=False, known=entry)
            self._running.add(asked)
            return Claim(is_new=True)

    def settle(self, asked: bytes) -> None:
        """A picture that was claimed has ended, and if it was captioned, is in the journal."""
        self._running.discard(asked)


def _is_gone(entry: Entry) -> bool:
    return entry.path is not None and not os.path.lexists(entry.path)
