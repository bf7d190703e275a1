"""What is new of an answer that grows, taken apart: for shapes that tell its parts one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from ....core.protocol.outputs import CompletionOutput
from .chat_message import ChatMessage

_KINDS: tuple[tuple[Literal["reasoning", "content"], str], ...] = (
    ("reasoning", "reasoning_content"),
    ("content", "content"),
)


class AnswerDeltas:
    """Of one answer. message: takes its text apart. ended: whether all of it was told."""

    def __init__(self, message: ChatMessage) -> None:
        self._message = message
        self._sent = 0
        self.ended = False

    def next(self, completion: CompletionOutput) -> dict[str, Any] | None:
        """What is new since the last call, as `ChatMessage.delta` has it; None if nothing is."""
        text = completion.text[self._sent :]
        ended = completion.finish_reason is not None
        if self.ended or not (text or ended):
            return None
        self._sent, self.ended = len(completion.text), ended
        return self._message.delta(text, ended)


class TextPiece(NamedTuple):
    """More of a part. begins: whether it is the first of its part, with which the one before
    ends."""

    kind: Literal["reasoning", "content"]
    text: str
    begins: bool


class AnswerPieces:
    """Of one answer: its thoughts and content, in parts that follow each other, and then its calls,
    as a parser does not tell what was written before a call from what came after it.

    calls: as a chat has them, complete once the answer has ended.
    """

    def __init__(self, message: ChatMessage) -> None:
        self._deltas = AnswerDeltas(message)
        self._kind: str | None = None
        self.calls: list[dict[str, Any]] = []

    def next(self, completion: CompletionOutput) -> Iterator[TextPiece]:
        """Those that are new since the last call."""
        delta = self._deltas.next(completion) or {}
        for kind, name in _KINDS:
            if text := delta.get(name):
                begins, follows = kind != self._kind, self._kind is not None
                # What parts it from another piece of its kind.
                told = text.lstrip("\n") if begins and follows else text
                self._kind = kind
                yield TextPiece(kind, told, begins)
        self.calls += delta.get("tool_calls", ())

    @property
    def ended(self) -> bool:
        """Whether all of the answer was told."""
        return self._deltas.ended
