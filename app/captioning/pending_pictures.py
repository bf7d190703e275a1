"""Pictures of sources, found by a thread of its own, so that no model waits for a slow disk."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from .journal import Journal, key_of
from .picture import Picture, Skip

#: Found ahead of those that are taken.
_AHEAD = 1000


class PendingPictures:
    """An iterable, once, of the pictures that a job has not had yet; its thread starts at once.

    is_there: whether an output that no journal knows of has a picture already.
    on_skip: is told of what is skipped, by that thread; on_done: of a picture that the journal has.
    """

    def __init__(
        self,
        found: Iterable[Picture | Skip],
        journal: Journal,
        is_there: Callable[[Picture], bool],
        on_skip: Callable[[Skip], None],
        on_done: Callable[[Picture], None],
    ) -> None:
        self._found = found
        self._journal = journal
        self._is_there = is_there
        self._on_skip = on_skip
        self._on_done = on_done
        self._queue: queue.Queue[Picture | Exception | None] = queue.Queue(_AHEAD)
        self._first = threading.Event()
        self._found_none = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="octavo-listing", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Picture | None]:
        """None while there is none yet. Raises what listing the sources raised."""
        while True:
            try:
                found = self._queue.get_nowait()
            except queue.Empty:
                yield None
                continue
            if found is None:
                return
            if isinstance(found, Exception):
                raise found
            yield found

    def is_empty(self, patience: float) -> bool:
        """Whether there is nothing to caption; False too if that isn't known in so many seconds."""
        self._first.wait(patience)
        return self._first.is_set() and self._found_none

    def close(self) -> None:
        """Look for no more. What is read from a pipe may come first."""
        self._ended.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    def _run(self) -> None:
        last: Exception | None = None
        try:
            for found in self._found:
                if isinstance(found, Skip):
                    self._on_skip(found)
                elif self._journal.has(key_of(found)):
                    self._on_done(found)
                elif self._is_there(found):
                    self._on_skip(Skip("in the output already", found.name))
                else:
                    self._put(found)
                if self._ended.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - whoever iterates is told
            last = error
        self._put(last)

    def _put(self, found: Picture | Exception | None) -> None:
        if not self._first.is_set():
            self._found_none = found is None
            self._first.set()
        while not self._ended.is_set():
            try:
                return self._queue.put(found, timeout=1)
            except queue.Full:
                continue
