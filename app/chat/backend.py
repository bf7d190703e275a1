"""Who answers: what a conversation needs of a model, wherever that runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.protocol.media_limits import MediaLimits


class ChatError(Exception):
    """Why something can't be done, in one line; the conversation goes on."""


@dataclass(frozen=True)
class Piece:
    """What comes next of an answer, and of what is thought before it. finish_reason: of the last
    one, "stop" or "length"."""

    text: str
    finish_reason: str | None = None
    thought: str = ""


class Backend(Protocol):
    """A model that answers. name: its own; defaults: of sampling parameters, as far as they are
    known here; limits: of the pictures that it takes."""

    name: str
    defaults: Mapping[str, Any]
    limits: MediaLimits

    def answer(
        self, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]
    ) -> Generator[Piece, None, None]:
        """The next message's text, as it comes. messages: as the API of chat completions has
        them; sampling: parameters that differ from the defaults.

        Raises ChatError, and KeyboardInterrupt for a Ctrl-C, after which more can be asked.
        """
        ...

    def close(self) -> None:
        """Let go of the model or the connection."""
        ...
