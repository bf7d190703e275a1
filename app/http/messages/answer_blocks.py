"""The content blocks of a message that is answered, and the events that tell of them as they
grow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ....core.protocol.outputs import CompletionOutput
from ..chat.answer_deltas import AnswerPieces, TextPiece
from ..chat.chat_message import ChatMessage

Event = dict[str, Any]
#: Of blocks that grow, by what a chat calls them: the type, which names its text, too; and what it
#: has beside it.
_BLOCKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "content": ("text", "text_delta", {}),
    "reasoning": ("thinking", "thinking_delta", {"signature": ""}),
}


class AnswerBlocks:
    """Of one answer; see AnswerPieces. message: takes its text apart. blocks: complete but for the
    last, which may grow."""

    def __init__(self, message: ChatMessage) -> None:
        self._pieces = AnswerPieces(message)
        self._is_open = False
        self.blocks: list[dict[str, Any]] = []

    def next(self, completion: CompletionOutput) -> Iterator[Event]:
        """Events about what is new since the last call."""
        if self._pieces.ended:
            return
        for piece in self._pieces.next(completion):
            yield from self._grow(piece)
        if self._pieces.ended:
            yield from self._close()
            for call in self._pieces.calls:
                yield from self._call(call)

    @property
    def has_calls(self) -> bool:
        """Whether any is a call of a tool."""
        return bool(self._pieces.calls)

    def _grow(self, piece: TextPiece) -> Iterator[Event]:
        kind, about, others = _BLOCKS[piece.kind]
        if piece.begins:
            yield from self._close()
            yield self._open({"type": kind, kind: "", **others})
        self.blocks[-1][kind] += piece.text
        yield self._about("delta", {"delta": {"type": about, kind: piece.text}})

    def _call(self, call: dict[str, Any]) -> Iterator[Event]:
        function = call["function"]
        block = {"type": "tool_use", "id": call["id"], "name": function["name"], "input": {}}
        yield self._open(block)
        delta = {"type": "input_json_delta", "partial_json": function["arguments"]}
        yield self._about("delta", {"delta": delta})
        self.blocks[-1]["input"] = json.loads(function["arguments"])
        yield from self._close()

    def _open(self, block: dict[str, Any]) -> Event:
        self.blocks.append(block)
        self._is_open = True
        return self._about("start", {"content_block": dict(block)})

    def _close(self) -> Iterator[Event]:
        """End the block that grows, if there is one."""
        if self._is_open:
            self._is_open = False
            yield self._about("stop", {})

    def _about(self, what: str, fields: dict[str, Any]) -> Event:
        return {"type": f"content_block_{what}", "index": len(self.blocks) - 1, **fields}
