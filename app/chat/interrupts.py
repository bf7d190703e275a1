"""Ctrl-C where it does no harm: between the steps of an engine, not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt if Ctrl-C came since; nothing else does. One
    that nobody asked about is forgotten: what it was to end has ended."""
    came = threading.Event()

    def hold(number: int, frame: FrameType | None) -> None:
        came.set()

    def check() -> None:
        if came.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield check
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
