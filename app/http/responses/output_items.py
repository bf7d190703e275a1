"""The items of a response's output, and the events that tell of them as they grow."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from ....core.prompts.token_bytes import TextSoFar, TokenBytes
from ....core.protocol.outputs import CompletionOutput
from ..answer_logprobs import answer_logprobs
from ..chat.answer_deltas import AnswerPieces, TextPiece
from ..chat.chat_message import ChatMessage

Event = dict[str, Any]
_KINDS = {"reasoning": "reasoning", "content": "message"}
#: Of items that grow, by their type: the type of their part, and of the events about its text.
_PARTS = {
    "message": ("output_text", "response.output_text"),
    "reasoning": ("reasoning_text", "response.reasoning_text"),
}
_ID_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


class OutputItems:
    """Of one answer: its thoughts and text, and then its calls; see AnswerPieces. message: takes
    its text apart.

    Log-probabilities, if they were asked for, are those of a single text.
    """

    def __init__(self, message: ChatMessage, tokens: TokenBytes) -> None:
        self._pieces = AnswerPieces(message)
        self._tokens = tokens
        self._token_text = TextSoFar()
        self._logprobs: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        #: The text of the last item, while it may grow.
        self._text: str | None = None

    def next(self, completion: CompletionOutput) -> Iterator[Event]:
        """Events about what is new since the last call, without their numbers."""
        if self._pieces.ended:
            return
        pieces = list(self._pieces.next(completion))
        first = len(self._logprobs)
        if pieces or self._pieces.ended:
            self._logprobs += answer_logprobs(self._tokens, completion, first, self._token_text)
        for piece in pieces:
            yield from self._grow(piece, self._logprobs[first:])
        if self._pieces.ended:
            yield from self._finish(completion.finish_reason == "length")

    @property
    def thoughts(self) -> str:
        """All of the reasoning, once it is complete."""
        return "".join(
            part["text"]
            for item in self.items
            if item["type"] == "reasoning"
            for part in item["content"]
        )

    def _finish(self, is_cut: bool) -> Iterator[Event]:
        calls = self._pieces.calls
        if not (self.items or calls):
            yield from self._open("message")
        yield from self._close("incomplete" if is_cut else "completed")
        for call in calls:
            yield from self._call(call)

    def _grow(self, piece: TextPiece, logprobs: Sequence[dict[str, Any]]) -> Iterator[Event]:
        if piece.begins:
            yield from self._close("completed")
            yield from self._open(_KINDS[piece.kind])
        self._text = (self._text or "") + piece.text
        told = logprobs if piece.kind == "content" else ()
        yield self._about_text("delta", {"delta": piece.text}, told)

    def _open(self, kind: str) -> Iterator[Event]:
        fields: dict[str, Any] = {"role": "assistant"} if kind == "message" else {"summary": []}
        yield self._begin(kind, {**fields, "content": []})
        self._text = ""
        yield self._about_part("added")

    def _close(self, status: str) -> Iterator[Event]:
        """End the item that grows, if there is one."""
        if self._text is None:
            return
        yield self._about_text("done", {"text": self._text}, self._logprobs)
        yield self._about_part("done")
        yield self._end({"status": status, "content": [self._part()]})
        self._text = None

    def _call(self, call: dict[str, Any]) -> Iterator[Event]:
        function = call["function"]
        arguments = function["arguments"]
        fields = {"call_id": call["id"], "name": function["name"], "arguments": ""}
        yield self._begin("function_call", fields)
        about = "response.function_call_arguments"
        yield {"type": f"{about}.delta", **self._place(), "delta": arguments}
        yield {"type": f"{about}.done", **self._place(), "arguments": arguments}
        yield self._end({"status": "completed", "arguments": arguments})

    def _begin(self, kind: str, fields: dict[str, Any]) -> Event:
        item_id = f"{_ID_PREFIXES[kind]}_{uuid.uuid4().hex}"
        self.items.append({"id": item_id, "type": kind, "status": "in_progress", **fields})
        return self._about_item("added")

    def _end(self, fields: dict[str, Any]) -> Event:
        self.items[-1] = {**self.items[-1], **fields}
        return self._about_item("done")

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}

    def _about_item(self, what: str) -> Event:
        index = len(self.items) - 1
        return {
            "type": f"response.output_item.{what}",
            "output_index": index,
            "item": self.items[index],
        }

    def _about_part(self, what: str) -> Event:
        about = f"response.content_part.{what}"
        return {"type": about, **self._place(), "content_index": 0, "part": self._part()}

    def _about_text(
        self, what: str, fields: dict[str, Any], logprobs: Sequence[dict[str, Any]]
    ) -> Event:
        kind = self.items[-1]["type"]
        about = f"{_PARTS[kind][1]}.{what}"
        told = {"logprobs": list(logprobs)} if kind == "message" else {}
        return {"type": about, **self._place(), "content_index": 0, **fields, **told}

    def _part(self) -> dict[str, Any]:
        kind = self.items[-1]["type"]
        told = {"annotations": [], "logprobs": list(self._logprobs)}
        notes: dict[str, Any] = told if kind == "message" else {}
        return {"type": _PARTS[kind][0], "text": self._text, **notes}
