"""Beam search over one-token requests: the prefix cache holds what hypotheses share."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..prompts.detokenizer import Detokenizer
from ..prompts.tokenizer import Tokenizer
from ..protocol.messages import EngineRequest, TokenLogprobs
from ..protocol.outputs import CompletionOutput, RequestOutput
from ..protocol.sampling_params import BeamSearchParams, SamplingParams


@dataclass(frozen=True)
class Hypothesis:
    """Generated tokens and the sum of their log-probabilities.

    score: the sum over length ** length_penalty, once finished; stopped: by the model itself.
    """

    token_ids: tuple[int, ...]
    logprob: float
    score: float = float("-inf")
    stopped: bool = False


class BeamSearch:
    """One beam search, a step at a time: `next_requests`, run them, `update` with the results.

    The rules are those of transformers' `generate(num_beams=…)`: of the best candidates over all
    hypotheses, those among the first beam_width that end are kept as finished, and the best that
    don't end go on; the finished ones are ranked by their score.
    """

    def __init__(
        self, request: EngineRequest, params: BeamSearchParams, eos_token_ids: Sequence[int]
    ) -> None:
        self._request = request
        self._params = params
        self._eos_token_ids = frozenset(() if params.ignore_eos else eos_token_ids)
        self._num_candidates = max(2, 1 + len(self._eos_token_ids)) * params.beam_width
        self._running = [Hypothesis((), 0.0)]
        self._finished: list[Hypothesis] = []
        self._step = 0
        self.done = False

    def next_requests(self) -> list[EngineRequest]:
        """A request for the next token of each running hypothesis."""
        step_params = SamplingParams(
            temperature=0, max_tokens=1, logprobs=self._num_candidates, ignore_eos=True
        )
        return [
            msgspec.structs.replace(
                self._request,
                request_id=f"{self._request.request_id}.{self._step}.{i}",
                prompt_token_ids=[*self._request.prompt_token_ids, *hypothesis.token_ids],
                sampling_params=step_params,
                # The search has begun; that its next step waits is no reason to give it up.
                queue_timeout=math.inf if self._step else self._request.queue_timeout,
            )
            for i, hypothesis in enumerate(self._running)
        ]

    def update(self, results: Sequence[TokenLogprobs]) -> None:
        """Take in the next tokens of each running hypothesis, in order, and choose."""
        self._step += 1
        candidates = [
            Hypothesis((*hypothesis.token_ids, token_id), hypothesis.logprob + logprob)
            for hypothesis, result in zip(self._running, results, strict=True)
            for token_id, logprob in zip(result.top_ids, result.top_logprobs, strict=True)
        ]
        best = heapq.nlargest(self._num_candidates, candidates, key=lambda c: c.logprob)
        width = self._params.beam_width
        ended = [candidate for candidate in best[:width] if self._ends(candidate)]
        self._finished += [self._finish(candidate) for candidate in ended]
        self._finished = heapq.nlargest(width, self._finished, key=lambda h: h.score)
        self._running = [candidate for candidate in best if not self._ends(candidate)][:width]
        self.done = not self._running or not self._can_improve()

    def to_output(self, tokenizer: Tokenizer) -> RequestOutput:
        """The finished hypotheses, the best first."""
        outputs = [
            CompletionOutput(
                index,
                self._text(hypothesis, tokenizer),
                list(hypothesis.token_ids),
                None,
                cumulative_logprob=hypothesis.logprob,
                finish_reason="stop" if hypothesis.stopped else "length",
            )
            for index, hypothesis in enumerate(self._finished)
        ]
        request = self._request
        return RequestOutput(request.request_id, request.prompt_token_ids, outputs, self.done)

    def _text(self, hypothesis: Hypothesis, tokenizer: Tokenizer) -> str:
        detokenizer = Detokenizer(tokenizer, before=self._request.text_context)
        detokenizer.add(hypothesis.token_ids, last=True)
        return detokenizer.text

    def _ends(self, candidate: Hypothesis) -> bool:
        return self._step >= self._params.max_tokens or self._stops(candidate)

    def _stops(self, candidate: Hypothesis) -> bool:
        return candidate.token_ids[-1] in self._eos_token_ids

    def _finish(self, candidate: Hypothesis) -> Hypothesis:
        score = candidate.logprob / float(self._step) ** self._params.length_penalty
        return Hypothesis(candidate.token_ids, candidate.logprob, score, self._stops(candidate))

    def _can_improve(self) -> bool:
        """Whether the best running hypothesis could still enter the finished ones."""
        params = self._params
        if len(self._finished) < params.beam_width:
            return True
        if params.early_stopping is True:
            return False
        longest = params.early_stopping == "never" and params.length_penalty > 0
        length = params.max_tokens if longest else self._step
        best_possible: float = self._running[0].logprob / float(length) ** params.length_penalty
        return best_possible > self._finished[-1].score
