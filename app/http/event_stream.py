"""Answers in pieces, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from starlette.requests import Request

from .errors import ENGINE_ERRORS, engine_error_body
from .request_ids import unexpected

DONE = b"data: [DONE]\n\n"


def event(content: object) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


async def until_failed(http: Request, events: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """The status is sent by then, so a failure is an event too, and the end of a stream that says
    [DONE] nowhere."""
    try:
        async with aclosing(events):
            async for written in events:
                yield written
    except ENGINE_ERRORS as error:
        yield event(engine_error_body(error)[1])
    except Exception as error:  # noqa: BLE001 - logged, and told to the client
        yield event(unexpected(http, error))
