"""Answers that grow at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from ..server.server_api import AnswerSoFar, ServerError


@dataclass(frozen=True)
class Column:
    """One of them. error: why there is no more of it. ended: nothing will be added."""

    answer: AnswerSoFar = field(default_factory=AnswerSoFar)
    error: str = ""
    ended: bool = False


async def side_by_side(
    answers: Sequence[AsyncGenerator[AnswerSoFar]],
) -> AsyncGenerator[list[Column]]:
    """All of them whenever one has grown, the last time when all have ended. One that fails leaves
    the others be. Closing the generator closes all answers."""
    columns = [Column() for _ in answers]
    changed = asyncio.Event()

    async def follow(place: int) -> None:
        async with aclosing(answers[place]) as growing:
            try:
                async for answer in growing:
                    columns[place] = Column(answer)
                    changed.set()
            except ServerError as error:
                columns[place] = replace(columns[place], error=str(error))
        columns[place] = replace(columns[place], ended=True)

    tasks = [asyncio.create_task(follow(place)) for place in range(len(answers))]
    for task in tasks:
        task.add_done_callback(lambda _: changed.set())
    try:
        running = True
        while running:
            await changed.wait()
            changed.clear()
            running = not all(task.done() for task in tasks)
            yield list(columns)
        for task in tasks:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
