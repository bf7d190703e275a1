"""Chooses the next token of every request in a batch, each by its own settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ....kernels.ops import MaskTokens, SampleTopKTopP
from ...contracts.interfaces import LogitsProcessor
from ...contracts.specs import LogitsProcessorSpec, load_object
from ...protocol.messages import Failure
from ...protocol.sampling_params import SamplingParams
from ...protocol.scheduler_output import NewRequest, SampledTokens
from .grammars.compiler import GrammarCompiler
from .grammars.masks import GrammarMasks, GrammarState, apply_grammars
from .logits_masks import apply_automata, apply_masks
from .logprobs import describe_token
from .min_p import apply_min_p
from .penalties import apply_penalties
from .sampling_state import SamplingState

#: Temperature, top-k, top-p and a uniform number, each of every row.
_Settings = tuple[Tensor, Tensor, Tensor, Tensor]
_UNIFORM_STEPS = 2**24


class Sampler:
    """Batched sampling. Each request draws from a random stream of its own, so that its output
    depends on its seed and not on what else is in the batch.

    The order is vLLM's: allowed tokens, bias, bad words and min_tokens; plugins' processors;
    penalties; automata and grammars, which so nothing gets round; then greedy choice, or
    temperature, min-p, top-k and top-p and a draw.
    """

    def __init__(
        self,
        device: torch.device,
        draw: SampleTopKTopP,
        mask_tokens: MaskTokens,
        eos_token_ids: Sequence[int] = (),
        processors: Mapping[str, LogitsProcessorSpec] | None = None,
        grammars: GrammarCompiler | None = None,
    ) -> None:
        self._device = device
        self._draw = draw
        self._mask_tokens = mask_tokens
        self._eos_token_ids = frozenset(eos_token_ids)
        self._processor_specs = processors or {}
        self._grammars = grammars
        self._masks = GrammarMasks()
        self._states: dict[str, SamplingState] = {}
        self._greedy: dict[int, _Settings] = {}

    def check(self, params: SamplingParams) -> None:
        """Raises ValueError if a logits processor refuses its arguments."""
        for name, arguments in params.logits_processors.items():
            try:
                self._load_processor(name, arguments)
            except Exception as error:  # plugin code
                raise ValueError(f"logits processor {name!r} refused: {error}") from error

    def add(self, new: NewRequest) -> None:
        """Prepare for a request."""
        form, grammar = new.sampling_params.structured_outputs, None
        if form is not None:
            assert self._grammars is not None
            ends = self._eos_token_ids.union(new.sampling_params.stop_token_ids)
            grammar = GrammarState(self._grammars.compile(form.source).result(), ends)
            self._masks.begin([grammar])
        self._states[new.request_id] = SamplingState(new, grammar)

    def forget(self, request_id: str) -> None:
        """Drop what is kept for a request that has ended."""
        self._states.pop(request_id, None)

    def close(self) -> None:
        """Compute no more masks."""
        self._masks.close()

    @torch.inference_mode()
    def sample(self, logits: Tensor, request_ids: Sequence[str]) -> dict[str, SampledTokens]:
        """logits: [num_requests, vocab_size], float32, which may be changed; returns a token for
        each request id."""
        if not request_ids:
            return {}
        states = [self._states[request_id] for request_id in request_ids]
        grammars = [state.grammar for state in states if state.grammar is not None]
        self._masks.wait(grammars)
        processed, failures = self._process(logits, states)
        token_ids = self._choose(processed, states, failures)
        sampled = {}
        for row, (request_id, state) in enumerate(zip(request_ids, states, strict=True)):
            if row in failures:
                sampled[request_id] = SampledTokens([], failure=failures[row])
                continue
            token_id, count = token_ids[row], state.params.logprobs
            logprobs = [] if count is None else [describe_token(logits[row], token_id, count)]
            state.append(token_id)
            ended = state.grammar is not None and state.grammar.has_ended
            sampled[request_id] = SampledTokens([token_id], logprobs, ended)
        self._masks.begin([grammar for grammar in grammars if not grammar.has_ended])
        return sampled

    def _process(
        self, logits: Tensor, states: Sequence[SamplingState]
    ) -> tuple[Tensor, dict[int, Failure]]:
        """Logits after everything but temperature and truncation, and which rows failed. They are
        changed in place, unless log-probabilities are asked for, which are of the model's."""
        changed = [i for i, state in enumerate(states) if state.changes_logits]
        grammars = [state.grammar for state in states]
        if not changed and not any(grammars):
            return logits, {}
        if any(state.params.logprobs is not None for state in states):
            logits = logits.clone()
        logits = logits.contiguous()
        failures = self._apply_settings(logits, states, changed) if changed else {}
        return logits, failures | apply_grammars(logits, grammars, self._mask_tokens)

    def _apply_settings(
        self, logits: Tensor, states: Sequence[SamplingState], changed: Sequence[int]
    ) -> dict[int, Failure]:
        """Change these rows of logits in place; returns which failed."""
        rows = logits if len(changed) == len(states) else logits[changed]
        chosen = [states[i] for i in changed]
        apply_masks(rows, chosen, self._eos_token_ids)
        failures = self._apply_processors(rows, chosen)
        penalised = [i for i, state in enumerate(chosen) if state.params.penalises]
        if penalised:
            params = [chosen[i].params for i in penalised]
            histories = [chosen[i].history(logits.shape[-1], self._device) for i in penalised]
            rows[penalised] = apply_penalties(rows[penalised], params, histories)
        apply_automata(rows, chosen, self._eos_token_ids)
        if rows is not logits:
            logits[changed] = rows
        return {changed[row]: failure for row, failure in failures.items()}

    def _apply_processors(
        self, rows: Tensor, states: Sequence[SamplingState]
    ) -> dict[int, Failure]:
        """Run plugins' processors row by row; one that fails costs its own request alone."""
        failures: dict[int, Failure] = {}
        for row, state in enumerate(states):
            for name, arguments in state.params.logits_processors.items():
                try:
                    if name not in state.processors:
                        state.processors[name] = self._load_processor(name, arguments)
                    seen = state.prompt_token_ids, state.output_token_ids
                    rows[row] = state.processors[name](*seen, rows[row])
                except Exception as error:  # noqa: BLE001 - plugin code
                    message = f"logits processor {name!r} failed: {error}"
                    failures[row] = Failure("failed", message)
                    break
        return failures

    def _load_processor(self, name: str, arguments: Any) -> LogitsProcessor:
        factory: Callable[[Any], LogitsProcessor] = load_object(self._processor_specs[name].load)
        return factory(arguments)

    def _choose(
        self, logits: Tensor, states: Sequence[SamplingState], failures: dict[int, Failure]
    ) -> list[int]:
        """A token of each row; rows that are no numbers are added to `failures`."""
        params = [state.params for state in states]
        if all(p.greedy for p in params):
            truncated, settings = logits, self._greedy_settings(len(params))
        else:
            truncated, settings = apply_min_p(logits, params), self._settings(params, states)
        token_ids: list[int] = self._draw(truncated, *settings).tolist()
        for row, token_id in enumerate(token_ids):
            if token_id < 0:
                failures.setdefault(row, _why_none(logits[row], states[row]))
        return token_ids

    def _settings(
        self, params: Sequence[SamplingParams], states: Sequence[SamplingState]
    ) -> _Settings:
        uniform = [0.0 if state.params.greedy else _uniform(state) for state in states]
        return (
            self._tensor([0.0 if p.greedy else p.temperature for p in params]),
            torch.tensor([max(p.top_k, 0) for p in params], device=self._device),
            self._tensor([p.top_p for p in params]),
            self._tensor(uniform),
        )

    def _greedy_settings(self, count: int) -> _Settings:
        """Those of so many greedy requests, made once: most steps need no others."""
        if count not in self._greedy:
            zeros = self._tensor([0.0] * count)
            self._greedy[count] = zeros, zeros.long(), torch.ones_like(zeros), zeros
        return self._greedy[count]

    def _tensor(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)


def _why_none(logits: Tensor, state: SamplingState) -> Failure:
    """Why there is no token to draw from logits [vocab_size]."""
    largest = logits.max().item()
    if largest == -math.inf and (state.changes_logits or state.grammar is not None):
        return Failure("invalid", "its settings leave no token to choose")
    return Failure("failed", f"the model gave {largest} as a logit")


def _uniform(state: SamplingState) -> float:
    """In [0, 1), exact in float32."""
    return int(state.random.random() * _UNIFORM_STEPS) / _UNIFORM_STEPS
