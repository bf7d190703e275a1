"""The message that an answer becomes, whole or in the pieces of a stream."""

from __future__ import annotations

import secrets
import string
from typing import Any, Protocol

from ....core.prompts.responses.answer_parser import AnswerParts
from ....core.prompts.responses.response_template import FunctionCall

#: An id's letters and their number, which Mistral's chat templates insist on.
_ID_LETTERS, _ID_LENGTH = string.ascii_letters + string.digits, 9


class Parser(Protocol):
    """See AnswerParser."""

    num_calls: int

    def feed(self, text: str, last: bool = False) -> AnswerParts:
        """Go on with more of the answer."""
        ...


class ChatMessage:
    """Of one answer. parser: takes its text apart; None if all of it is content.
    include_reasoning: whether thoughts are told. ends_as_written: whether calls are no reason to
    say that the answer ended for them, as in OpenAI's API where a function was named."""

    def __init__(
        self,
        parser: Parser | None,
        include_reasoning: bool = True,
        ends_as_written: bool = False,
    ) -> None:
        self._parser = parser
        self._include_reasoning = include_reasoning
        self._ends_as_written = ends_as_written

    def delta(self, text: str, last: bool) -> dict[str, Any]:
        """More of the answer, as a stream tells it."""
        if self._parser is None:
            return {"content": text}
        num_told = self._parser.num_calls
        content, reasoning, calls = self._parser.feed(text, last)
        written = [{"index": i, **_written(call)} for i, call in enumerate(calls, start=num_told)]
        thoughts = reasoning if self._include_reasoning else ""
        parts = {"reasoning_content": thoughts, "content": content, "tool_calls": written}
        return {name: part for name, part in parts.items() if part}

    def whole(self, text: str) -> dict[str, Any]:
        """The message of a whole answer."""
        message = {"role": "assistant", **self.delta(text, last=True)}
        for call in message.get("tool_calls", ()):
            del call["index"]
        nothing = None if "tool_calls" in message else ""
        return {"role": "assistant", "content": message.pop("content", nothing), **message}

    def finish_reason(self, reason: str | None) -> str | None:
        """Why the answer ended, as clients of calls expect it."""
        called = self._parser is not None and self._parser.num_calls > 0
        for_calls = called and reason == "stop" and not self._ends_as_written
        return "tool_calls" if for_calls else reason


def _written(call: FunctionCall) -> dict[str, Any]:
    call_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call_id, "type": "function", "function": function}
