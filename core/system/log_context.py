"""Which requests the present work is about, so that each line of the log can say it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request_ids: ContextVar[tuple[str, ...]] = ContextVar("request_ids", default=())


_key_name: ContextVar[str] = ContextVar("key_name", default="")


def key_name() -> str:
    """Of the API key that the present work is done for; nothing if there is none."""
    return _key_name.get()


@contextmanager
def about_key(name: str) -> Iterator[None]:
    """What runs within is done for the holder of this API key, in this task."""
    token = _key_name.set(name)
    try:
        yield
    finally:
        _key_name.reset(token)


def request_ids() -> tuple[str, ...]:
    """Of the requests that what runs here and now is about; none if it is about no request."""
    return _request_ids.get()


def request_id() -> str:
    """That of the one request, or nothing."""
    return (*_request_ids.get(), "")[0]


@contextmanager
def about_requests(*ids: str) -> Iterator[None]:
    """What runs within is about these requests, in this task or thread. Empty ids are none."""
    token = _request_ids.set(tuple(id for id in ids if id))
    try:
        yield
    finally:
        _request_ids.reset(token)
