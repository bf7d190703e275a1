"""Features on their way to a tier, written by a thread so that nobody waits for it."""

from __future__ import annotations

import logging
import threading
from collections import deque

from .features import Features
from .tier import StoreTier

logger = logging.getLogger(__name__)


class WriteBehind:
    """Puts features into a tier, in order, on a thread of its own.

    max_bytes: of the features that wait or are being written.
    """

    def __init__(self, tier: StoreTier, max_bytes: int = 64 * 2**20) -> None:
        self._tier = tier
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, Features]] = deque()
        self._bytes = 0
        self._dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="octavo-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Features that were not taken, or not written before `close`."""
        return self._dropped

    def submit(self, key: str, features: Features) -> bool:
        """Have features written. Returns whether they were taken; never waits for the store."""
        with self._changed:
            if self._closed or self._bytes + features.nbytes > self._max_bytes:
                self._dropped += 1
                return False
            self._queue.append((key, features))
            self._bytes += features.nbytes
            self._changed.notify_all()
            return True

    def close(self, timeout: float) -> None:
        """Take no more, and wait so many seconds for what was taken; the rest is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            left = len(self._queue)
            self._dropped += left
            self._bytes -= sum(features.nbytes for _, features in self._queue)
            self._queue.clear()
        if left:
            logger.warning("features of %d images were not stored before the end", left)

    def _write(self) -> None:
        while (item := self._next()) is not None:
            key, features = item
            try:
                self._tier.put(key, features)
            except Exception:
                logger.exception("writing the features of %s failed", key)
            with self._changed:
                self._bytes -= features.nbytes
                self._changed.notify_all()

    def _next(self) -> tuple[str, Features] | None:
        """The next features once there are some; None when closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            return self._queue.popleft() if self._queue else None
