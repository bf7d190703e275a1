"""Requests of any number, prepared by other threads while some run."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import TypeVar

from ..core.engine.errors import RequestError
from ..core.engine.messages import EngineRequest
from ..core.engine.request_state import RequestState
from .offline_run import OfflineRun

T = TypeVar("T")

#: Requests in the engine at once, and as many that wait for it with their images read.
_WINDOW = 64


def stream(
    begin: Callable[[EngineRequest], RequestState],
    run: OfflineRun,
    items: Iterable[T],
    prepare: Callable[[T], EngineRequest],
) -> Iterator[RequestState | RequestError]:
    """For each item, in order, the state of its request once that has ended, or why there could
    be none. Images are decoded and prepared while others are encoded and described.

    begin: adds a request to the run.
    """
    source = iter(items)
    preparing: deque[Future[EngineRequest]] = deque()
    begun: deque[RequestState | RequestError] = deque()
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="prepare")
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.enter_context(run)
        while True:
            for item in islice(source, _WINDOW - len(preparing)):
                preparing.append(pool.submit(prepare, item))
            while preparing and run.num_unfinished < _WINDOW:
                if run.num_unfinished and not preparing[0].done():
                    break
                begun.append(_begin(begin, preparing.popleft()))
            run.step()
            while begun and _has_ended(begun[0]):
                yield begun.popleft()
            if not begun and not preparing:
                return


def _begin(
    begin: Callable[[EngineRequest], RequestState], prepared: Future[EngineRequest]
) -> RequestState | RequestError:
    try:
        return begin(prepared.result())
    except RequestError as error:
        return error


def _has_ended(begun: RequestState | RequestError) -> bool:
    return isinstance(begun, RequestError) or begun.finished
