"""Waiting for results as long as a client does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def unless_gone(http: Request, result: Awaitable[Result]) -> Result:
    """Wait for a result. Raises ClientDisconnect, the work cancelled, if nobody waits for it."""
    outcome: list[Result] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await http.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        async def run() -> None:
            nonlocal failure
            try:
                outcome.append(await result)
            except Exception as error:  # noqa: BLE001 - raised again outside of the task group
                failure = error
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        tasks.start_soon(run)
    if failure is not None:
        raise failure
    if not outcome:
        raise ClientDisconnect
    return outcome[0]


async def last_of(outputs: AsyncGenerator[Result]) -> Result:
    """The last output of one that has at least one."""
    async with aclosing(outputs):
        async for output in outputs:
            last = output
    return last
