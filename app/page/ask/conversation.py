"""One visitor's conversation, and how it goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from ..parts.picture_parts import numbered, picture_part, text_part
from ..server.server_api import AnswerSoFar, ServerApi, ServerError

#: Seconds between looks at an answer that grows.
_PACE = 0.05
#: Showing it may take at most one such part of the time.
_SHARE_OF_SHOWING = 3


@dataclass
class Turn:
    """pictures: paths of files. again: whether it takes the place of the turn before it. fault: why
    there is no answer, or only a part of one."""

    question: str
    pictures: list[str] = field(default_factory=list)
    again: bool = False
    answer: AnswerSoFar = field(default_factory=AnswerSoFar)
    fault: str = ""
    stopped: bool = False

    @property
    def is_history(self) -> bool:
        """Whether later answers build on it. One that failed would fail again."""
        return bool(self.answer.text) and not self.fault


class Conversation:
    """Turns, of which the last may be under way."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._asking: asyncio.Task[None] | None = None

    @property
    def answering(self) -> bool:
        """Whether an answer is under way."""
        return self._asking is not None and not self._asking.done()

    @property
    def pictures(self) -> list[str]:
        """Of all turns."""
        return [path for turn in self.turns for path in turn.pictures]

    def stop(self) -> None:
        """End the answer that is under way, at the server too."""
        if self._asking is not None:
            self._asking.cancel()

    def clear(self) -> None:
        """Forget all."""
        self.stop()
        self.turns = []

    def go_on(
        self, server: ServerApi, turn: Turn, system: str, sampling: Mapping[str, Any]
    ) -> AsyncGenerator[None]:
        """Answer this turn, from now on; yields when there is more to show, and at the end. Closing
        it stops the answer."""
        if turn.again:
            self.turns.pop()
        self.turns.append(turn)
        self._asking = asyncio.create_task(_ask(server, list(self.turns), system, sampling))
        return _watch(self._asking, turn)


async def _watch(asking: asyncio.Task[None], turn: Turn) -> AsyncGenerator[None]:
    shown, pause = turn.answer, _PACE
    try:
        while not asking.done():
            await asyncio.wait((asking,), timeout=pause)
            if turn.answer is not shown and not asking.done():
                shown, began = turn.answer, time.monotonic()
                yield
                pause = max(_PACE, _SHARE_OF_SHOWING * (time.monotonic() - began))
    finally:
        asking.cancel()
    turn.stopped = asking.cancelled()
    if not turn.stopped:
        asking.result()
    yield


async def _ask(
    server: ServerApi, turns: list[Turn], system: str, sampling: Mapping[str, Any]
) -> None:
    """Fills the last turn's answer, or its fault."""
    turn = turns[-1]
    try:
        messages = await asyncio.to_thread(_messages, turns, system)
        fields = {"model": await server.model(), **sampling}
        async with aclosing(server.ask(messages, fields)) as answers:
            async for turn.answer in answers:
                pass
    except ServerError as error:
        turn.fault = numbered(error)
    except OSError:
        turn.fault = "a picture is no longer there; begin a new conversation and add it again"


def _messages(turns: list[Turn], system: str) -> list[dict[str, Any]]:
    """Raises OSError, and ServerError for a picture that is too large."""
    messages: list[dict[str, Any]] = []
    if system.strip():
        messages.append({"role": "system", "content": system})
    *earlier, last = turns
    for turn in (*(turn for turn in earlier if turn.is_history), last):
        parts = [*map(picture_part, turn.pictures), text_part(turn.question)]
        messages.append({"role": "user", "content": parts})
        if turn is not last:
            messages.append({"role": "assistant", "content": turn.answer.text})
    return messages
