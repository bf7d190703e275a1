"""The chunks of a streamed chat completion, from server-sent events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .backend import ChatError


class Delta(msgspec.Struct):
    """What is new of a message."""

    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct):
    """What is new of an answer."""

    delta: Delta | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """The fields that matter here. error: in place of choices."""

    choices: list[Choice] | None = None
    error: Any = None


def chunks(lines: Iterable[str]) -> Iterator[Chunk]:
    """Of each event, until [DONE] or the end; comments and an event's other fields are left out.

    Raises ChatError for data that is no chunk.
    """
    for line in lines:
        field, _, value = line.partition(":")
        if field != "data":
            continue
        if value.strip() == "[DONE]":
            return
        try:
            yield msgspec.json.decode(value, type=Chunk)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ChatError(f"the server sent what is no chunk of an answer: {error}") from error
