"""Requests of any number, prepared by other threads while some run."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import msgspec

from ...core.client.request_state import RequestState
from ...core.protocol.messages import EngineRequest
from .offline_run import OfflineRun
from .shared_processors import SharedProcessors

T = TypeVar("T")
C = TypeVar("C")
#: What whoever prepared an item's requests wants to know of it once they have ended, and the
#: requests, if it has any, which run together.
Prepared = tuple[C, Sequence[EngineRequest]]

#: Requests in the engine at once, and as many items that wait for it with their images read.
WINDOW = 64
_NICENESS = 5
#: Between two looks at a source that has nothing yet.
_NOT_YET_S = 0.02


class Ended(NamedTuple, Generic[C]):
    """An item whose requests have ended."""

    context: C
    states: Sequence[RequestState]

    @property
    def finished(self) -> bool:
        """Whether all have."""
        return all(state.finished for state in self.states)


def stream(
    run: OfflineRun,
    items: Iterable[T | None],
    prepare: Callable[[T], Prepared[C]],
    processors: SharedProcessors,
    is_enough: Callable[[], bool] = lambda: False,
    num_threads: int | None = None,
) -> Iterator[Ended[C]]:
    """For each item, in order, the states of its requests once they have ended. Images are decoded
    and prepared while others are encoded and described. Once it is enough, what runs is the last.

    items: None among them says that there is none yet. processors: which `prepare` takes for what
    it computes. num_threads: that prepare; None is one for each processor.
    """
    source = iter(items)
    num_threads = num_threads or len(os.sched_getaffinity(0))
    preparing: deque[Future[Prepared[C]]] = deque()
    begun: deque[Ended[C]] = deque()
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(num_threads, "prepare", initializer=_give_way)
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.enter_context(run)
        while True:
            if is_enough():
                source = iter(())
                preparing.clear()
            # A few at a time, for items may be slow to come while requests run.
            has_ended = True
            for item in islice(source, min(num_threads, WINDOW - len(preparing))):
                has_ended = False
                if item is None:
                    break
                preparing.append(pool.submit(prepare, item))
            if not begun and not preparing:
                if has_ended:
                    return
                time.sleep(_NOT_YET_S)
            # Those that have ended keep their images until all before them have.
            while preparing and run.num_unfinished < WINDOW and len(begun) < 2 * WINDOW:
                if run.num_unfinished and not preparing[0].done():
                    break
                if not run.num_unfinished:
                    processors.leave()
                begun.append(_begin(run, preparing.popleft().result()))
            with processors.compute():
                run.step()
            while begun and begun[0].finished:
                yield begun.popleft()


def _give_way() -> None:
    """Have Linux prefer the threads that compute, which this one works ahead of."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _begin(run: OfflineRun, prepared: Prepared[C]) -> Ended[C]:
    # Their time runs from here, however long they have been ready.
    now = time.monotonic()
    context, requests = prepared
    timed = [msgspec.structs.replace(request, arrival_time=now) for request in requests]
    return Ended(context, [run.add(request) for request in timed])
