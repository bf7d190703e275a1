"""Signals that end a job: the first has it finish what runs, a second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """received: the signal that came, if any did."""

    def __init__(self, on_first: Callable[[signal.Signals], None]) -> None:
        self.received: signal.Signals | None = None
        self._on_first = on_first

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM are taken; only in the main thread, which alone gets them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, self._take) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        self._on_first(self.received)
