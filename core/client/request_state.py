"""A request as a face sees it: its answers so far, stop strings applied."""

from __future__ import annotations

import time

import msgspec

from ..prompts.detokenizer import Detokenizer
from ..prompts.tokenizer import Tokenizer
from ..protocol.messages import (
    Abort,
    EngineOutput,
    EngineRequest,
    Failure,
    RequestTimings,
    TokenLogprobs,
)
from ..protocol.outputs import CompletionOutput, RequestOutput
from ..protocol.sampling_params import SamplingParams


class RequestState:
    """Collects the outputs of all answers of one request."""

    def __init__(self, request: EngineRequest, tokenizer: Tokenizer) -> None:
        self.request = request
        params = request.sampling_params
        before = request.text_context
        self._answers = [_AnswerState(i, params, tokenizer, before) for i in range(params.n)]
        self._prompt_logprobs: list[TokenLogprobs | None] | None = None
        self._num_cached_tokens = 0
        self._timings = [RequestTimings(arrival=request.arrival_time) for _ in self._answers]
        self._received = [0.0 for _ in self._answers]
        self._image_sources: list[str] = []
        self.failure: Failure | None = None

    @property
    def finished(self) -> bool:
        """Whether every answer is complete, or one of them failed."""
        return self.failure is not None or all(
            answer.completion.finish_reason is not None for answer in self._answers
        )

    def finish_reason(self, index: int) -> str | None:
        """Why an answer has ended; None while it has not."""
        return self._answers[index].completion.finish_reason

    def update(self, output: EngineOutput) -> Abort | None:
        """Take in a step's output; returns what to abort if a stop string ended an answer that
        the engine goes on with."""
        self.failure = self.failure or output.failure
        if output.timings is not None:
            self._timings[output.index] = output.timings
            self._received[output.index] = self._received[output.index] or time.monotonic()
            self._image_sources = self._sources_in_order(output.image_sources)
        self._prompt_logprobs = output.prompt_logprobs or self._prompt_logprobs
        if output.index == 0:
            self._num_cached_tokens = output.num_cached_tokens
        if self._answers[output.index].update(output):
            self._end_now(output.index)
            return Abort(self.request.request_id, output.index)
        return None

    def to_output(self) -> RequestOutput:
        """The request's output so far."""
        return RequestOutput(
            self.request.request_id,
            self.request.prompt_token_ids,
            [answer.completion for answer in self._answers],
            self.finished,
            self._merged_timings(),
            self._prompt_logprobs,
            self._num_cached_tokens,
            sum(span.length for span in self.request.spans),
            self._image_sources,
            self.request.text_context,
        )

    def _end_now(self, index: int) -> None:
        """An answer has ended without the engine, which tells nothing of it any more. Its last
        token has taken as long on its way here as its first."""
        timings = self._timings[index]
        finished = timings.first_token + time.monotonic() - self._received[index]
        self._timings[index] = msgspec.structs.replace(timings, finished=finished)

    def _merged_timings(self) -> RequestTimings:
        """Those of the answer whose first token came first, and the end of the last one."""
        begun = [timings for timings in self._timings if timings.first_token]
        first = min(begun or self._timings, key=lambda timings: timings.first_token)
        finished = max(timings.finished for timings in self._timings) if self.finished else 0.0
        return msgspec.structs.replace(first, finished=finished)

    def _sources_in_order(self, by_key: dict[str, str]) -> list[str]:
        """See RequestOutput.image_sources."""
        found = dict(by_key)
        sources = []
        for span in self.request.spans:
            if span.feature_start == 0:  # an image begins
                key = span.media_key
                sources.append(found.get(key, "prefix"))
                if key in found:
                    found[key] = "engine"  # where the same image finds them if it is shown again
        return sources


class _AnswerState:
    def __init__(
        self, index: int, params: SamplingParams, tokenizer: Tokenizer, before: list[int]
    ) -> None:
        self._params = params
        self._detokenizer = Detokenizer(tokenizer, params.skip_special_tokens, before)
        self._hold_back = max((len(s) for s in params.stop), default=1) - 1
        self._stop_search_start = 0
        wants_logprobs = params.logprobs is not None
        self.completion = CompletionOutput(index, "", [], [] if wants_logprobs else None)

    def update(self, output: EngineOutput) -> bool:
        """Take in a step's output; True if a stop string ended what the engine still computes."""
        completion = self.completion
        if completion.finish_reason is not None:
            return False
        completion.token_ids += output.new_token_ids
        if completion.logprobs is not None:
            completion.logprobs += output.new_logprobs
            added = sum(token.chosen for token in output.new_logprobs)
            completion.cumulative_logprob = (completion.cumulative_logprob or 0.0) + added
        done = output.finish_reason is not None
        stopping = output.finish_reason == "stop" and not output.complete
        visible = output.new_token_ids[:-1] if stopping else output.new_token_ids
        self._detokenizer.add(visible, last=done)
        if self._apply_stop_strings():
            return not done
        text = self._detokenizer.text
        completion.text = text if done else text[: max(0, len(text) - self._hold_back)]
        completion.finish_reason = output.finish_reason
        completion.stop_reason = output.stop_token_id
        completion.complete = output.complete
        return False

    def _apply_stop_strings(self) -> bool:
        text = self._detokenizer.text
        if len(self.completion.token_ids) < self._params.min_tokens:
            self._stop_search_start = len(text)
            return False
        if not self._params.stop:
            return False
        found = [
            (position, stop)
            for stop in self._params.stop
            if (position := text.find(stop, self._stop_search_start)) >= 0
        ]
        if not found:
            # A stop string may still begin in what is held back.
            self._stop_search_start = max(self._stop_search_start, len(text) - self._hold_back)
            return False
        position, stop = min(found)
        self.completion.text = text[:position]
        self.completion.finish_reason = "stop"
        self.completion.stop_reason = stop
        return True
