"""Lines are sent, few at a time, and what comes of them is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from .answers import Answer, Ask, answered, error_code, unanswered
from .batch_line import BatchLine
from .result_store import Record

logger = logging.getLogger(__name__)

#: Statuses that say to send the request again, and codes that mean it of 503.
_BUSY = 429
_UNAVAILABLE = 503
#: By a line that asked for it.
_WAITED_TOO_LONG = "queue_timeout"
_DEAD = "engine_dead"
#: How often the engine may end while it is at a line, before that line is taken for the reason.
MAX_DEATHS = 3
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


async def run_lines(
    lines: Iterator[BatchLine],
    ask: Ask,
    keep: Callable[[Record], Awaitable[None]],
    slots: asyncio.Semaphore,
    alive: Callable[[], bool],
) -> None:
    """Until all have been kept. slots: one for each line that runs, whoever's it is; while lines
    wait as the server refused them, others than these have theirs, and no further ones begin.
    alive: whether requests are taken now. Raises what reading the lines raises."""
    try:
        async with asyncio.TaskGroup() as tasks:
            await _start_all(lines, _Sender(ask, alive), keep, slots, tasks)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _start_all(
    lines: Iterator[BatchLine],
    sender: _Sender,
    keep: Callable[[Record], Awaitable[None]],
    slots: asyncio.Semaphore,
    tasks: asyncio.TaskGroup,
) -> None:
    async def run(line: BatchLine, slot: _Slot) -> None:
        await keep(await sender.outcome(line, slot))

    def start(line: BatchLine, slot: _Slot) -> None:
        # Also of a task that is cancelled before it has begun.
        tasks.create_task(run(line, slot)).add_done_callback(lambda _: slot.give_back())

    while True:
        slot = _Slot(slots)
        await sender.until_none_waits()
        await slot.take()
        line = None
        try:
            line = await asyncio.to_thread(next, lines, None)
        finally:
            if line is None:
                slot.give_back()
        if line is None:
            return
        start(line, slot)


class _Slot:
    """One of those for lines that run."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._is_taken = False

    async def take(self) -> None:
        await self._slots.acquire()
        self._is_taken = True

    def give_back(self) -> None:
        """Nothing, if it has been given back."""
        if self._is_taken:
            self._is_taken = False
            self._slots.release()


class _Sender:
    """Sends the lines of a batch."""

    def __init__(self, ask: Ask, alive: Callable[[], bool]) -> None:
        self._ask = ask
        self._alive = alive
        self._num_waiting = 0
        self._none_waits = asyncio.Event()
        self._none_waits.set()

    async def until_none_waits(self) -> None:
        """So that there are no more that wait than slots."""
        await self._none_waits.wait()

    async def outcome(self, line: BatchLine, slot: _Slot) -> Record:
        """What comes of a line, sent as often as need be."""
        pause = _FIRST_PAUSE_S
        deaths = 0
        while True:
            while not self._alive():
                await asyncio.sleep(_FIRST_PAUSE_S)
            answer = await self._ask(line.url, line.body)
            if not _is_passing(answer):
                return answered(line, answer)
            if error_code(answer) == _DEAD:
                deaths += 1
                if deaths == MAX_DEATHS:
                    message = f"the engine ended {deaths} times while it was at this request"
                    return unanswered(line, "server_error", message)
            logger.info("line %d waits: status %d", line.number, answer.status)
            await self._wait(slot, pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _wait(self, slot: _Slot, seconds: float) -> None:
        slot.give_back()
        self._num_waiting += 1
        self._none_waits.clear()
        try:
            await asyncio.sleep(seconds)
            await slot.take()
        finally:
            self._num_waiting -= 1
            if not self._num_waiting:
                self._none_waits.set()


def _is_passing(answer: Answer) -> bool:
    """Whether the same request may go well later, as the server was busy or restarting, or its key
    has used up what it may in a minute."""
    if answer.is_final:
        return False
    if answer.status == _UNAVAILABLE:
        return error_code(answer) != _WAITED_TOO_LONG
    return answer.status == _BUSY
