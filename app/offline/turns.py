"""A lock that threads hold in turn, and that no Ctrl-C breaks."""

from __future__ import annotations

import signal
import threading
from collections import deque
from types import FrameType
from typing import Any


class Turns:
    """A lock, as a context, which threads get in the order in which they ask: one that takes it
    again and again, step by step, keeps none out.

    A Ctrl-C that comes while the main thread waits for it or has it takes effect at the end, so
    that what it guards is never left half done.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False
        self._asked_by = threading.local()
        self._interrupts = _HeldInterrupts()

    @property
    def asked_by_me(self) -> bool:
        """Whether this thread has it or waits for it, and would wait for itself for ever."""
        return getattr(self._asked_by, "me", False)

    def __enter__(self) -> None:
        self._asked_by.me = True
        self._interrupts.hold()
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def __exit__(self, *error: object) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
        self._asked_by.me = False
        self._interrupts.let_go()


class _HeldInterrupts:
    """Of the main thread, which alone gets them; elsewhere nothing is done."""

    def __init__(self) -> None:
        self._handler: Any = None
        self._came: tuple[int, FrameType | None] | None = None

    def hold(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):  # the system's own, or none
            return
        self._handler = handler
        signal.signal(signal.SIGINT, self._note)

    def let_go(self) -> None:
        """Raises what the handler does, if there was any."""
        if self._handler is None or threading.current_thread() is not threading.main_thread():
            return
        handler, self._handler = self._handler, None
        came, self._came = self._came, None
        signal.signal(signal.SIGINT, handler)
        if came is not None:
            handler(*came)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = number, frame
