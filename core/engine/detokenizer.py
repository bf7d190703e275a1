"""Turns a stream of tokens into text that never has to be taken back, and finds stop strings."""

from __future__ import annotations

from collections.abc import Sequence

from .messages import EngineOutput, EngineRequest, RequestTimings
from .outputs import CompletionOutput, RequestOutput
from .tokenizer import Tokenizer

_INCOMPLETE = "\ufffd"


class Detokenizer:
    """Text of one request. A character that spans tokens is held back until it is whole.

    Only the tokens after the last safe point are decoded again at each step, with those before
    it as context, as a tokenizer may join or space tokens by what precedes them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._token_ids: list[int] = []
        self._context_start = 0
        self._safe_end = 0
        self.text = ""

    def add(self, token_ids: Sequence[int], last: bool) -> None:
        """Append tokens; `last` also gives out what would be held back."""
        self._token_ids += token_ids
        context = self._tokenizer.decode(self._token_ids[self._context_start : self._safe_end])
        decoded = self._tokenizer.decode(self._token_ids[self._context_start :])
        if len(decoded) > len(context) and (last or not decoded.endswith(_INCOMPLETE)):
            self.text += decoded[len(context) :]
            self._context_start, self._safe_end = self._safe_end, len(self._token_ids)


class RequestState:
    """A request as a face sees it: the answer so far, stop strings applied."""

    def __init__(self, request: EngineRequest, tokenizer: Tokenizer) -> None:
        self._request = request
        self._detokenizer = Detokenizer(tokenizer)
        self._hold_back = max((len(s) for s in request.sampling_params.stop), default=1) - 1
        wants_logprobs = request.sampling_params.logprobs is not None
        self.completion = CompletionOutput(0, "", [], [] if wants_logprobs else None)
        self.error: str | None = None
        self.timings = RequestTimings(arrival=request.arrival_time)

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self.completion.finish_reason is not None

    def update(self, output: EngineOutput) -> bool:
        """Take in a step's output; True if a stop string ended what the engine still computes."""
        completion = self.completion
        completion.token_ids += output.new_token_ids
        if completion.logprobs is not None:
            completion.logprobs += output.new_logprobs
        done = output.finish_reason is not None
        stopping = output.finish_reason == "stop" and output.new_token_ids
        visible = output.new_token_ids[:-1] if stopping else output.new_token_ids
        self._detokenizer.add(visible, last=done)
        self.error = output.error
        self.timings = output.timings or self.timings
        if self._apply_stop_strings():
            return not done
        text = self._detokenizer.text
        completion.text = text if done else text[: max(0, len(text) - self._hold_back)]
        completion.finish_reason = output.finish_reason
        completion.stop_reason = output.stop_token_id
        return False

    def to_output(self) -> RequestOutput:
        """The request's output so far."""
        return RequestOutput(
            self._request.request_id,
            self._request.prompt_token_ids,
            [self.completion],
            self.finished,
            self.timings,
        )

    def _apply_stop_strings(self) -> bool:
        text = self._detokenizer.text
        found = [(text.find(s), s) for s in self._request.sampling_params.stop if s in text]
        if not found:
            return False
        position, stop = min(found)
        self.completion.text = text[:position]
        self.completion.finish_reason = "stop"
        self.completion.stop_reason = stop
        return True
