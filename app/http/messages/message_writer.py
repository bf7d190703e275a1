"""A message that answers POST /v1/messages, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ....core.protocol.outputs import RequestOutput
from ..chat.asked_answers import AskedAnswers
from .answer_blocks import AnswerBlocks, Event
from .messages_request import MessagesRequest


class MessageWriter:
    """For one request, from its first output to its last."""

    def __init__(
        self, message_id: str, model_name: str, body: MessagesRequest, answers: AskedAnswers
    ) -> None:
        self._head = {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model_name,
        }
        self._body = body
        self._answers = answers
        self._blocks: AnswerBlocks | None = None

    def begin(self, output: RequestOutput) -> Iterator[Event]:
        """The first events. output: the first, of which `more` tells."""
        message = {
            **self._head,
            "content": list[Event](),
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_usage(output), "output_tokens": 0},
        }
        yield {"type": "message_start", "message": message}
        yield {"type": "ping"}

    def more(self, output: RequestOutput) -> Iterator[Event]:
        """Events about what is new."""
        if self._blocks is None:
            (message,) = self._answers.messages(output)
            self._blocks = AnswerBlocks(message)
        return self._blocks.next(output.outputs[0])

    def whole(self, output: RequestOutput) -> dict[str, Any]:
        """The message, once `more` was told all of the output."""
        assert self._blocks is not None
        content = self._blocks.blocks
        return {**self._head, "content": content, **self._end(output), "usage": _usage(output)}

    def end(self, output: RequestOutput) -> Iterator[Event]:
        """The last events."""
        yield {"type": "message_delta", "delta": self._end(output), "usage": _usage(output)}
        yield {"type": "message_stop"}

    def _end(self, output: RequestOutput) -> dict[str, Any]:
        assert self._blocks is not None
        answer = output.outputs[0]
        sequence = None
        if answer.finish_reason == "length":
            is_cut = len(answer.token_ids) >= self._body.max_tokens
            reason = "max_tokens" if is_cut else "model_context_window_exceeded"
        elif self._blocks.has_calls:
            reason = "tool_use"
        elif answer.stop_reason in (self._body.stop_sequences or ()):
            reason, sequence = "stop_sequence", answer.stop_reason
        else:
            reason = "end_turn"
        return {"stop_reason": reason, "stop_sequence": sequence}


def _usage(output: RequestOutput) -> dict[str, Any]:
    """As Anthropic's API counts: what a cache had is not among the input_tokens."""
    return {
        "input_tokens": len(output.prompt_token_ids) - output.num_cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": output.num_cached_tokens,
        "output_tokens": len(output.outputs[0].token_ids),
    }
