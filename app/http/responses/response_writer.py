"""A response of POST /v1/responses, and the events that tell of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ....core.prompts.tokenizer import Tokenizer
from ....core.protocol.outputs import RequestOutput
from ....core.protocol.sampling_params import SamplingParams
from ..chat.asked_answers import AskedAnswers
from .output_items import Event, OutputItems
from .responses_request import ResponsesRequest


class ResponseWriter:
    """For one request, from its first output to its last. params: those that are sampled by.
    is_kept: what the response says of that."""

    def __init__(
        self,
        response_id: str,
        model_name: str,
        body: ResponsesRequest,
        params: SamplingParams,
        answers: AskedAnswers,
        tokenizer: Tokenizer,
        is_kept: bool,
    ) -> None:
        self._answers = answers
        self._tokenizer = tokenizer
        self._items: OutputItems | None = None
        self._num_events = 0
        self._fields = {
            "id": response_id,
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": model_name,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": None, "summary": None},
            "store": is_kept,
            "temperature": params.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": params.top_p,
            "truncation": "disabled",
            "usage": None,
        }

    def begin(self) -> Iterator[Event]:
        """The first events."""
        for name in ("created", "in_progress"):
            yield self._numbered({"type": f"response.{name}", "response": self._fields})

    def more(self, output: RequestOutput) -> Iterator[Event]:
        """Events about what is new."""
        if self._items is None:
            (message,) = self._answers.messages(output)
            self._items = OutputItems(message, self._tokenizer.token_bytes)
        for event in self._items.next(output.outputs[0]):
            yield self._numbered(event)

    def whole(self, output: RequestOutput) -> dict[str, Any]:
        """The response, once `more` was told all of the output."""
        assert self._items is not None
        is_cut = output.outputs[0].finish_reason == "length"
        return {
            **self._fields,
            "status": "incomplete" if is_cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "output": self._items.items,
            "usage": self._usage(output),
        }

    def end(self, response: dict[str, Any]) -> Event:
        """The last event, with the whole response."""
        return self._numbered({"type": f"response.{response['status']}", "response": response})

    def failure(self, error_body: dict[str, Any]) -> Event:
        """The last event of an answer that fails. error_body: which else would tell of it."""
        error = {"code": "server_error", "message": error_body["error"]["message"]}
        items = self._items.items if self._items is not None else []
        response = {**self._fields, "status": "failed", "error": error, "output": items}
        return self.end(response)

    def _numbered(self, event: Event) -> Event:
        number = self._num_events
        self._num_events += 1
        return {**event, "sequence_number": number}

    def _usage(self, output: RequestOutput) -> dict[str, Any]:
        assert self._items is not None
        prompt, answer = len(output.prompt_token_ids), len(output.outputs[0].token_ids)
        thoughts = self._tokenizer.encode_text(self._items.thoughts)
        return {
            "input_tokens": prompt,
            "input_tokens_details": {
                "cached_tokens": output.num_cached_tokens,
                "image_tokens": output.num_image_tokens,
            },
            "output_tokens": answer,
            "output_tokens_details": {"reasoning_tokens": min(len(thoughts), answer)},
            "total_tokens": prompt + answer,
        }
