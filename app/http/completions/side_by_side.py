"""Growing outputs of several prompts, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

Result = TypeVar("Result")


async def side_by_side(
    sources: Sequence[AsyncGenerator[Result]], at_once: int
) -> AsyncGenerator[tuple[int, Result]]:
    """What the sources give, each after its place among them, while `at_once` of them run. The
    first failure ends them all, and so does closing this."""
    slots = asyncio.Semaphore(at_once)
    given: asyncio.Queue[tuple[int, Result] | Exception | None] = asyncio.Queue()

    async def run(index: int, source: AsyncGenerator[Result]) -> None:
        try:
            async with slots, aclosing(source):
                async for result in source:
                    given.put_nowait((index, result))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            given.put_nowait(error)
        else:
            given.put_nowait(None)

    tasks = [asyncio.ensure_future(run(*source)) for source in enumerate(sources)]
    try:
        num_open = len(tasks)
        while num_open:
            result = await given.get()
            if isinstance(result, Exception):
                raise result
            if result is None:
                num_open -= 1
            else:
                yield result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
