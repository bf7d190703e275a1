"""The answers to POST /api/chat and /api/generate: one object, or one a line as they grow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from ....core.prompts.token_bytes import TextSoFar, TokenBytes
from ....core.protocol.outputs import RequestOutput
from ..answer_logprobs import answer_logprobs
from ..chat.answer_deltas import AnswerDeltas
from ..chat.chat_message import ChatMessage

_NANOSECONDS = 10**9

Line = dict[str, Any]
#: From what is new of an answer, as a chat has it, to the fields of a line.
Shape = Callable[[dict[str, Any]], Line]


def chat_line(delta: dict[str, Any]) -> Line:
    """Of POST /api/chat."""
    message = {"role": "assistant", "content": delta.get("content", "")}
    if thoughts := delta.get("reasoning_content"):
        message["thinking"] = thoughts
    if calls := delta.get("tool_calls"):
        message["tool_calls"] = [_call(call) for call in calls]
    return {"message": message}


def generate_line(delta: dict[str, Any]) -> Line:
    """Of POST /api/generate."""
    thoughts = delta.get("reasoning_content")
    return {"response": delta.get("content", ""), **({"thinking": thoughts} if thoughts else {})}


def loaded(model: str, shape: Shape) -> Line:
    """What answers a request that says nothing, which has the model loaded."""
    return {**_head(model), **shape({}), "done": True, "done_reason": "load"}


class AnswerLines:
    """Of one answer. model: as the request names it. messages: makes those of the answers of an
    output."""

    def __init__(
        self,
        model: str,
        shape: Shape,
        messages: Callable[[RequestOutput], list[ChatMessage]],
        tokens: TokenBytes,
    ) -> None:
        self._model = model
        self._shape = shape
        self._messages = messages
        self._tokens = tokens
        self._deltas: AnswerDeltas | None = None
        self._text = TextSoFar()
        self._num_logprobs = 0

    def next(self, output: RequestOutput) -> Iterator[Line]:
        """What is new since the last call."""
        new = self._new(output)
        if new != self._shape({}):
            yield {**_head(self._model), **new, "done": False}

    def end(self, output: RequestOutput) -> Line:
        """The last line."""
        return {**_head(self._model), **self._shape({}), **_end(output)}

    def whole(self, output: RequestOutput) -> Line:
        """All in one."""
        return {**_head(self._model), **self._new(output), **_end(output)}

    def _new(self, output: RequestOutput) -> Line:
        (completion,) = output.outputs
        if self._deltas is None:
            (message,) = self._messages(output)
            self._deltas = AnswerDeltas(message)
            self._text = self._tokens.after(output.text_context)
        delta = self._deltas.next(completion)
        if delta is None:
            return self._shape({})
        logprobs = answer_logprobs(self._tokens, completion, self._num_logprobs, self._text)
        self._num_logprobs += len(logprobs)
        return {**self._shape(delta), **({"logprobs": logprobs} if logprobs else {})}


def _head(model: str) -> Line:
    return {"model": model, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


def _end(output: RequestOutput) -> Line:
    (completion,) = output.outputs
    took = output.metrics
    return {
        "done": True,
        "done_reason": completion.finish_reason,
        "total_duration": _nanoseconds(took.finished - took.arrival),
        "load_duration": 0,
        "prompt_eval_count": len(output.prompt_token_ids),
        "prompt_eval_duration": _nanoseconds(took.first_token - took.first_scheduled),
        "eval_count": len(completion.token_ids),
        "eval_duration": _nanoseconds(took.finished - took.first_token),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.loads(function["arguments"])
    return {"id": call["id"], "function": {"name": function["name"], "arguments": arguments}}
