"""Processors that threads and the engine share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
from octavo.app.offline.shared_processors import SharedProcessors

COUNT = 4


@pytest.fixture(autouse=True)
def a_machine_of_four(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(COUNT)))
    torch.set_num_threads(COUNT)
    yield
    torch.set_num_threads(before)


class Preparing:
    """Threads that hold a processor each until they are told to let go."""

    def __init__(self, processors: SharedProcessors, count: int) -> None:
        self._processors = processors
        self._begun = threading.Semaphore(0)
        self._end = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(count)
        self._ended: list[Future[None]] = [self._pool.submit(self._hold) for _ in range(count)]

    def _hold(self) -> None:
        with self._processors.prepare():
            self._begun.release()
            assert self._end.acquire(timeout=60)

    def wait_for(self, count: int) -> None:
        """Until so many more have begun."""
        for _ in range(count):
            assert self._begun.acquire(timeout=60)

    def none_begins(self) -> bool:
        """Whether no other gets a processor, as far as a moment shows."""
        return not self._begun.acquire(timeout=0.1)

    def end(self, count: int) -> None:
        """Of those that have begun, so many let go."""
        self._end.release(count)

    def join(self) -> None:
        """Until all have ended, without an error."""
        self.end(len(self._ended))
        for future in self._ended:
            future.result(timeout=60)
        self._pool.shutdown()


def threads_of_engine(processors: SharedProcessors) -> int:
    with processors.compute():
        return torch.get_num_threads()


def test_all_prepare_while_the_engine_has_nothing_to_do() -> None:
    processors = SharedProcessors()
    preparing = Preparing(processors, COUNT + 1)
    preparing.wait_for(COUNT)
    assert preparing.none_begins()
    preparing.join()


def test_the_engine_gets_what_is_left() -> None:
    processors = SharedProcessors()
    assert threads_of_engine(processors) == COUNT
    assert torch.get_num_threads() == COUNT
    preparing = Preparing(processors, 3)
    preparing.wait_for(2)
    assert threads_of_engine(processors) == COUNT - 2
    assert preparing.none_begins()
    processors.leave()
    preparing.wait_for(1)
    # Those that are at it finish; the engine has its half all the same.
    assert threads_of_engine(processors) == COUNT // 2
    preparing.end(2)
    preparing.join()
    assert threads_of_engine(processors) == COUNT


def test_one_processor_does_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    processors = SharedProcessors()
    assert threads_of_engine(processors) == 1
    preparing = Preparing(processors, 2)
    preparing.wait_for(1)
    assert threads_of_engine(processors) == 1
    preparing.join()


def test_fewer_threads_that_torch_was_given_stay_fewer() -> None:
    torch.set_num_threads(1)
    assert threads_of_engine(SharedProcessors()) == 1


def test_an_engine_whose_sums_keep_their_order_keeps_its_threads() -> None:
    processors = SharedProcessors(engine_varies=False)
    assert threads_of_engine(processors) == COUNT
    preparing = Preparing(processors, 2)
    preparing.wait_for(2)
    assert threads_of_engine(processors) == COUNT
    preparing.join()
