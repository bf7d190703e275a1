"""Requests of any number, prepared by other threads while some run."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import TypeVar

import msgspec

from ...core.client.request_state import RequestState
from ...core.protocol.errors import RequestError
from ...core.protocol.messages import EngineRequest
from .offline_run import OfflineRun

T = TypeVar("T")

#: Requests in the engine at once, and as many that wait for it with their images read.
WINDOW = 64


def stream(
    run: OfflineRun, items: Iterable[T], prepare: Callable[[T], EngineRequest]
) -> Iterator[RequestState | RequestError]:
    """For each item, in order, the state of its request once that has ended, or why there could
    be none. Images are decoded and prepared while others are encoded and described."""
    source = iter(items)
    num_threads = len(os.sched_getaffinity(0))
    preparing: deque[Future[EngineRequest]] = deque()
    begun: deque[RequestState | RequestError] = deque()
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(num_threads, thread_name_prefix="prepare")
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.enter_context(run)
        while True:
            # A few at a time, for items may be slow to come while requests run.
            for item in islice(source, min(num_threads, WINDOW - len(preparing))):
                preparing.append(pool.submit(prepare, item))
            if not begun and not preparing:
                return
            # Those that have ended keep their images until all before them have.
            while preparing and run.num_unfinished < WINDOW and len(begun) < 2 * WINDOW:
                if run.num_unfinished and not preparing[0].done():
                    break
                begun.append(_begin(run, preparing.popleft()))
            run.step()
            while begun and _has_ended(begun[0]):
                yield begun.popleft()


def _begin(run: OfflineRun, prepared: Future[EngineRequest]) -> RequestState | RequestError:
    try:
        request = prepared.result()
    except RequestError as error:
        return error
    # Its time runs from here, however long it has been ready.
    return run.add(msgspec.structs.replace(request, arrival_time=time.monotonic()))


def _has_ended(begun: RequestState | RequestError) -> bool:
    return isinstance(begun, RequestError) or begun.finished
