"""One request in the engine of this process, as an event loop sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import TypeVar

from ...core.client.request_state import RequestState
from ...core.protocol.messages import EngineRequest
from .offline_run import OfflineRun
from .step_thread import StepThread

T = TypeVar("T")


async def async_states(
    steps: StepThread,
    run: OfflineRun,
    request: EngineRequest,
    take: Callable[[RequestState], T | Exception | None],
) -> AsyncGenerator[T]:
    """What `take` makes of the request's state after each step that changed it, if anything; an
    error is raised. It goes on for ever: closing it ends the request and the run. The event loop
    waits for no step."""
    loop = asyncio.get_running_loop()
    outbox: asyncio.Queue[T | Exception] = asyncio.Queue()

    def post(item: T | Exception | None) -> None:
        if item is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(outbox.put_nowait, item)

    def begin() -> None:
        try:
            run.add(request, lambda state: post(take(state)))
        except Exception as error:  # noqa: BLE001 - for who waits, and not for the thread
            post(error)

    steps.do(begin)
    try:
        while True:
            item = await outbox.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        steps.do(run.end)
