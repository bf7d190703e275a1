"""The bodies of answers to POST /v1/chat/completions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ....core.prompts.token_bytes import TextSoFar
from ....core.prompts.tokenizer import Tokenizer
from ....core.protocol.outputs import CompletionOutput, RequestOutput
from ..answer_logprobs import answer_logprobs
from ..prompt_logprobs import prompt_logprobs
from ..request_timings import timings
from ..usage import usage
from .chat_message import ChatMessage


class ChatResponses:
    """Writes completions and chunks for one request. include_timings: whether they say what it
    took. messages: makes those of the answers of an output."""

    def __init__(
        self,
        request_id: str,
        model_name: str,
        tokenizer: Tokenizer,
        messages: Callable[[RequestOutput], list[ChatMessage]],
        include_timings: bool = False,
    ) -> None:
        self.messages = messages
        self._head = {"id": request_id, "created": int(time.time()), "model": model_name}
        self._tokens = tokenizer.token_bytes
        self._include_timings = include_timings

    def completion(self, output: RequestOutput) -> dict[str, Any]:
        """The whole answer."""
        return self._head | {
            "object": "chat.completion",
            "choices": [
                self._choice(completion, message, self.text_before(output))
                for completion, message in zip(output.outputs, self.messages(output), strict=True)
            ],
            "usage": usage(output),
            **self._timings(output),
            **prompt_logprobs(output, self._tokens),
        }

    def chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        """A piece of one answer."""
        choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
        return self._head | {"object": "chat.completion.chunk", "choices": [choice]}

    def last_chunk(self, output: RequestOutput, include_usage: bool) -> dict[str, Any] | None:
        """What is said of all answers at the end; None if nothing of it was asked for."""
        said = {"usage": usage(output)} if include_usage else {}
        said |= self._timings(output)
        if not said:
            return None
        return self._head | {"object": "chat.completion.chunk", "choices": [], **said}

    def text_before(self, output: RequestOutput) -> TextSoFar:
        """What the text of an answer goes on with."""
        return self._tokens.after(output.text_context)

    def logprobs(
        self, completion: CompletionOutput, first: int, text: TextSoFar
    ) -> dict[str, Any] | None:
        """Of the tokens from a position on; see `answer_logprobs`. None if they were not asked
        for."""
        if completion.logprobs is None:
            return None
        return {"content": answer_logprobs(self._tokens, completion, first, text)}

    def _timings(self, output: RequestOutput) -> dict[str, Any]:
        return {"timings": timings(output)} if self._include_timings else {}

    def _choice(
        self, completion: CompletionOutput, message: ChatMessage, before: TextSoFar
    ) -> dict[str, Any]:
        return {
            "index": completion.index,
            "message": message.whole(completion.text),
            "finish_reason": message.finish_reason(completion.finish_reason),
            "stop_reason": completion.stop_reason,
            "logprobs": self.logprobs(completion, 0, before),
        }


class ChunkCursor:
    """Cuts each answer of a growing output into the parts that were not sent yet."""

    def __init__(self, responses: ChatResponses) -> None:
        self._responses = responses
        self._sent: dict[int, tuple[int, int]] = {}
        self._token_texts: dict[int, TextSoFar] = {}
        self._messages: list[ChatMessage] = []
        self._ended: set[int] = set()

    def next_chunks(self, output: RequestOutput) -> list[dict[str, Any]]:
        """Chunks for what is new since the last call."""
        self._messages = self._messages or self._responses.messages(output)
        for completion in output.outputs:
            if completion.index not in self._token_texts:
                self._token_texts[completion.index] = self._responses.text_before(output)
        return [chunk for c in output.outputs if (chunk := self._next_chunk(c)) is not None]

    def _next_chunk(self, completion: CompletionOutput) -> dict[str, Any] | None:
        index = completion.index
        if index in self._ended:
            return None
        sent_text, sent_tokens = self._sent.get(index, (0, 0))
        text = completion.text[sent_text:]
        new = completion.logprobs and completion.logprobs[sent_tokens:]
        ended = completion.finish_reason is not None
        if not (text or new or ended):
            return None
        message = self._messages[index]
        delta = message.delta(text, ended)
        self._sent[index] = (len(completion.text), len(completion.token_ids))
        if not (delta or new or ended):
            return None
        chunk = self._responses.chunk(index, delta)
        choice = chunk["choices"][0]
        choice["finish_reason"] = message.finish_reason(completion.finish_reason)
        if ended:
            self._ended.add(index)
            choice["stop_reason"] = completion.stop_reason
        if new:
            token_text = self._token_texts[index]
            choice["logprobs"] = self._responses.logprobs(completion, sent_tokens, token_text)
        return chunk
