"""Answers grow at the same time, each with its own end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from octavo.app.page.compare.side_by_side import Column, side_by_side
from octavo.app.page.server.server_api import AnswerSoFar, ServerError


async def growing(words: list[str], error: str = "") -> AsyncGenerator[AnswerSoFar]:
    for count in range(1, len(words) + 1):
        await asyncio.sleep(0)
        yield AnswerSoFar(" ".join(words[:count]))
    if error:
        raise ServerError(error)


def test_one_fails_and_the_other_goes_on() -> None:
    async def last() -> list[Column]:
        answers = [growing(["a"], "it broke"), growing(["a", "dog", "and", "more"])]
        return [columns async for columns in side_by_side(answers)][-1]

    left, right = asyncio.run(last())
    assert left == Column(AnswerSoFar("a"), "it broke", True)
    assert right == Column(AnswerSoFar("a dog and more"), "", True)


def test_closing_it_closes_all() -> None:
    closed = []

    async def endless(name: str) -> AsyncGenerator[AnswerSoFar]:
        try:
            yield AnswerSoFar(name)
            await asyncio.Event().wait()
        finally:
            closed.append(name)

    async def look() -> None:
        async with aclosing(side_by_side([endless("left"), endless("right")])) as columns:
            async for both in columns:
                if all(column.answer.text for column in both):
                    break
        assert sorted(closed) == ["left", "right"]

    asyncio.run(look())
