"""Which of this machine's processors prepare images, and which compute."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SharedProcessors:
    """Divides the processors between threads that prepare images and the engine, as a team of
    threads that has to share one of them waits for it at each of a model's layers.

    While the engine computes, at most half of them prepare, and the engine has the others; while
    it has nothing to do, all may prepare.

    engine_varies: whether the engine may compute with more threads at one time than at another,
    which changes the order of sums.
    """

    def __init__(self, *, engine_varies: bool = True) -> None:
        self._count = len(os.sched_getaffinity(0))
        self._engine_varies = engine_varies
        self._changed = threading.Condition()
        self._preparing = 0
        self._engine_has_work = False

    @contextmanager
    def prepare(self) -> Iterator[None]:
        """Wait for a processor, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._preparing < self._max_preparing)
            self._preparing += 1
        try:
            yield
        finally:
            with self._changed:
                self._preparing -= 1
                self._changed.notify()

    @contextmanager
    def compute(self) -> Iterator[None]:
        """Have torch and the kernels compute with what is left, in this thread."""
        with self._changed:
            self._engine_has_work = True
            left = self._count - min(self._preparing, self._max_preparing)
        before = torch.get_num_threads()
        if self._engine_varies:
            torch.set_num_threads(max(1, min(before, left)))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def leave(self) -> None:
        """Let all prepare, until the engine next computes."""
        with self._changed:
            self._engine_has_work = False
            self._changed.notify_all()

    @property
    def _max_preparing(self) -> int:
        return max(1, self._count // 2) if self._engine_has_work else self._count
