"""Running things side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable
from itertools import islice
from typing import Any, TypeVar

Result = TypeVar("Result")


async def together(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results, in order; the first failure ends them all, and so does the caller's leaving."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def ahead(work: Iterable[Coroutine[Any, Any, Result]], count: int) -> AsyncGenerator[Result]:
    """The results, in order, while up to `count` run; the first failure ends them all, and so does
    closing this."""
    source = iter(work)
    tasks: deque[asyncio.Task[Result]] = deque()
    try:
        while True:
            tasks += map(asyncio.ensure_future, islice(source, count - len(tasks)))
            if not tasks:
                return
            yield await tasks[0]
            tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
