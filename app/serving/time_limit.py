"""The time that a request has until it is ready for the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...core.prompts.input_processor import RequestOptions
from ...core.protocol.errors import RequestTimeoutError

#: What a request of text alone is at until then.
WRITING = "writing its prompt"


@asynccontextmanager
async def time_limit(options: RequestOptions, doing: str) -> AsyncIterator[None]:
    """Raises RequestTimeoutError if a request is not ready for the engine in time, which watches
    it from then on. doing: what takes its time, for the error."""
    queued = options.queue_timeout
    given = [seconds for seconds in (queued, options.timeout) if seconds is not None]
    started = options.arrival if options.arrival is not None else time.monotonic()
    seconds = started + min(given) - time.monotonic() if given else None
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        is_queued = queued is not None and queued == min(given)
        what = "started" if is_queued else "finished"
        raise RequestTimeoutError(
            f"the request was not {what} within its timeout: {doing} took too long", is_queued
        ) from error
