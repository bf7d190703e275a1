"""The threads that write and tokenise prompts, taken by turns between clients."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from ...core.protocol.errors import TooManyPromptsError
from ...core.system.memory import return_freed_memory

Result = TypeVar("Result")

_NUM_THREADS = 4
#: Bytes of text that may wait; how many requests may is bounded where they are admitted.
_MAX_WAITING_BYTES = 64 * 2**20
#: A prompt of so many bytes leaves tens of megabytes that were freed, but not given back.
_LARGE_PROMPT = 2**18


@dataclass(eq=False)
class _Work(Generic[Result]):
    client: str
    num_bytes: int
    run: Callable[[], Result]
    done: asyncio.Future[Result] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    #: The caller's, which says for the log whose request it is.
    context: Context = field(default_factory=copy_context)


class PromptPool:
    """Runs work in threads; use from one event loop.

    Clients take turns, and one of them has at most half of the threads, so that a short prompt
    of another never waits behind all of its long ones. If more text waits than may, the newest
    work of the client with most of it is refused.
    """

    def __init__(
        self, num_threads: int = _NUM_THREADS, max_waiting_bytes: int = _MAX_WAITING_BYTES
    ) -> None:
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="prompt")
        self._num_threads = num_threads
        self._max_of_client = max(1, num_threads // 2)
        self._max_waiting_bytes = max_waiting_bytes
        #: Work that waits, by client; whose turn is next comes first.
        self._waiting: dict[str, deque[_Work[Any]]] = {}
        self._waiting_bytes: Counter[str] = Counter()
        self._running: Counter[str] = Counter()

    async def run(self, client: str, num_bytes: int, work: Callable[[], Result]) -> Result:
        """What `work`, on so many bytes of text, gives. It isn't begun if the caller is cancelled
        before its turn. Raises TooManyPromptsError if too much waits."""
        self._make_room(client, num_bytes)
        item = _Work(client, num_bytes, work)
        self._waiting.setdefault(client, deque()).append(item)
        self._waiting_bytes[client] += num_bytes
        self._begin()
        try:
            return await item.done
        finally:
            if item in self._waiting.get(client, ()):
                self._take(item)

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _make_room(self, client: str, num_bytes: int) -> None:
        while self._waiting and self._waiting_bytes.total() + num_bytes > self._max_waiting_bytes:
            largest = max(self._waiting, key=self._waiting_bytes.__getitem__)
            refusal = TooManyPromptsError(
                f"{self._waiting_bytes.total()} bytes of prompts wait to be tokenised; "
                "send the request again later"
            )
            if self._waiting_bytes[largest] <= self._waiting_bytes[client] + num_bytes:
                raise refusal
            newest = self._waiting[largest][-1]
            self._take(newest)
            if not newest.done.done():
                newest.done.set_exception(refusal)

    def _take(self, item: _Work[Any]) -> None:
        """Out of what waits."""
        queue = self._waiting[item.client]
        queue.remove(item)
        self._waiting_bytes[item.client] -= item.num_bytes
        if not queue:
            del self._waiting[item.client], self._waiting_bytes[item.client]

    def _begin(self) -> None:
        """Begin as much as there are threads for."""
        while self._running.total() < self._num_threads:
            may = (c for c in self._waiting if self._running[c] < self._max_of_client)
            client = next(may, None)
            if client is None:
                return
            item = self._waiting[client][0]
            self._take(item)
            if client in self._waiting:
                self._waiting[client] = self._waiting.pop(client)
            if item.done.done():
                continue
            self._running[client] += 1
            future = asyncio.get_running_loop().run_in_executor(self._threads, _run, item)
            future.add_done_callback(partial(self._ended, item))

    def _ended(self, item: _Work[Any], future: asyncio.Future[Any]) -> None:
        self._running[item.client] -= 1
        if not self._running[item.client]:
            del self._running[item.client]
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or item.done.done():
            item.done.cancel()
        elif error is not None:
            item.done.set_exception(error)
        else:
            item.done.set_result(future.result())
        self._begin()


def _run(item: _Work[Result]) -> Result:
    try:
        return item.context.run(item.run)
    finally:
        if item.num_bytes >= _LARGE_PROMPT:
            return_freed_memory()
