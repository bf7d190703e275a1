"""An event loop in a thread of its own, as callers may have one that runs, such as Jupyter's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """From its making to `close`."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it; to cancel the future is to cancel it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it, and wait for its result."""
        future = self.begin(work)
        try:
            return future.result()
        finally:
            future.cancel()  # a Ctrl-C may have come

    def call(self, function: Callable[[], object]) -> None:
        """Call it there soon; from any thread, or a signal handler."""
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Cancel what runs, and end."""
        self.begin(_end_others()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
