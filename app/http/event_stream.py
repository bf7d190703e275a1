"""Answers in pieces, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request

from .errors import ENGINE_ERRORS, engine_error_body
from .request_ids import unexpected

DONE = b"data: [DONE]\n\n"


def event(content: object, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + msgspec.json.encode(content) + b"\n\n"


def _told_as_event(status: int, error_body: dict[str, Any]) -> bytes:
    return event(error_body)


async def until_failed(
    http: Request,
    events: AsyncGenerator[bytes],
    told: Callable[[int, dict[str, Any]], bytes] = _told_as_event,
) -> AsyncIterator[bytes]:
    """The status is sent by then, so a failure is an event too, and the end of a stream that says
    [DONE] nowhere. told: the event of the status and the body that would have told of it."""
    try:
        async with aclosing(events):
            async for written in events:
                yield written
    except ENGINE_ERRORS as error:
        yield told(*engine_error_body(error))
    except Exception as error:  # noqa: BLE001 - logged, and told to the client
        yield told(500, unexpected(http, error))
