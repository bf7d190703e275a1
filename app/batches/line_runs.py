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
    """Until all have been kept. slots: one for each line that runs, whoever's it is. alive: whether
    requests are taken now. Raises what reading the lines raises."""
    try:
        async with asyncio.TaskGroup() as tasks:
            await _start_all(lines, ask, keep, slots, alive, tasks)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _start_all(
    lines: Iterator[BatchLine],
    ask: Ask,
    keep: Callable[[Record], Awaitable[None]],
    slots: asyncio.Semaphore,
    alive: Callable[[], bool],
    tasks: asyncio.TaskGroup,
) -> None:
    async def run(line: BatchLine) -> None:
        await keep(await _outcome(line, ask, alive))

    while True:
        await slots.acquire()
        line = None
        try:
            line = await asyncio.to_thread(next, lines, None)
        finally:
            if line is None:
                slots.release()
        if line is None:
            return
        # Also of a task that is cancelled before it has begun.
        tasks.create_task(run(line)).add_done_callback(lambda _: slots.release())


async def _outcome(line: BatchLine, ask: Ask, alive: Callable[[], bool]) -> Record:
    pause = _FIRST_PAUSE_S
    deaths = 0
    while True:
        while not alive():
            await asyncio.sleep(_FIRST_PAUSE_S)
        answer = await ask(line.url, line.body)
        if not _is_passing(answer):
            return answered(line, answer)
        if error_code(answer) == _DEAD:
            deaths += 1
            if deaths == MAX_DEATHS:
                message = f"the engine ended {deaths} times while it was at this request"
                return unanswered(line, "server_error", message)
        logger.info("line %d waits: status %d", line.number, answer.status)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _is_passing(answer: Answer) -> bool:
    """Whether the same request may go well later, as the server was busy or restarting."""
    if answer.status == _UNAVAILABLE:
        return error_code(answer) != _WAITED_TOO_LONG
    return answer.status == _BUSY
