"""Chooses the next token of every request in a batch, each by its own settings."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....kernels.ops import SampleTopKTopP
from ...contracts.interfaces import LogitsProcessor
from ...contracts.specs import LogitsProcessorSpec, load_object
from ...protocol.sampling_params import SamplingParams
from ..scheduling.request import Request
from ..scheduling.scheduler_output import SampledToken
from .logits_masks import apply_masks, has_masks
from .logprobs import describe_token
from .min_p import apply_min_p
from .penalties import TokenHistory, apply_penalties

#: Temperature, top-k, top-p and a uniform number, each of every row.
_Settings = tuple[Tensor, Tensor, Tensor, Tensor]
_NUM_SEEDS = 2**64
_UNIFORM_STEPS = 2**24


@dataclass
class _RequestState:
    """What sampling keeps for one request between steps.

    changes_logits: whether its settings do so at every step.
    """

    processors: Mapping[str, LogitsProcessor]
    changes_logits: bool
    random: random.Random | None = None
    history: TokenHistory | None = None


class Sampler:
    """Batched sampling. Each request draws from a random stream of its own, so that its output
    depends on its seed and not on what else is in the batch.

    The order is vLLM's: allowed tokens, bias, bad words and min_tokens; plugins' processors;
    penalties; then greedy choice, or temperature, min-p, top-k and top-p and a draw.
    """

    def __init__(
        self,
        device: torch.device,
        draw: SampleTopKTopP,
        eos_token_ids: Sequence[int] = (),
        processors: Mapping[str, LogitsProcessorSpec] | None = None,
    ) -> None:
        self._device = device
        self._draw = draw
        self._eos_token_ids = frozenset(eos_token_ids)
        self._processor_specs = processors or {}
        self._states: dict[str, _RequestState] = {}
        self._greedy: dict[int, _Settings] = {}

    def add(self, request: Request) -> None:
        """Prepare for a request. Raises ValueError if a logits processor refuses it."""
        processors = {}
        for name, arguments in request.sampling_params.logits_processors.items():
            try:
                factory: Callable[[Any], LogitsProcessor]
                factory = load_object(self._processor_specs[name].load)
                processors[name] = factory(arguments)
            except Exception as error:  # plugin code
                raise ValueError(f"logits processor {name!r} refused: {error}") from error
        penalises = request.sampling_params.penalises
        changes_logits = penalises or bool(processors) or has_masks(request)
        self._states[request.request_id] = _RequestState(processors, changes_logits)

    def forget(self, request_id: str) -> None:
        """Drop what is kept for a request that has ended."""
        self._states.pop(request_id, None)

    @torch.inference_mode()
    def sample(self, logits: Tensor, requests: Sequence[Request]) -> dict[str, SampledToken]:
        """logits: [num_requests, vocab_size], float32; returns a token for each request id."""
        if not requests:
            return {}
        processed, errors = self._process(logits, requests)
        token_ids = self._choose(processed, requests, errors)
        sampled = {}
        for row, (request, token_id) in enumerate(zip(requests, token_ids, strict=True)):
            if row in errors:
                sampled[request.request_id] = SampledToken(token_id, error=errors[row])
                continue
            count = request.sampling_params.logprobs
            logprobs = None if count is None else describe_token(logits[row], token_id, count)
            sampled[request.request_id] = SampledToken(token_id, logprobs)
            history = self._states[request.request_id].history
            if history is not None:
                history.add(token_id)
        return sampled

    def _process(
        self, logits: Tensor, requests: Sequence[Request]
    ) -> tuple[Tensor, dict[int, str]]:
        """Logits after everything but temperature and truncation, and which rows failed."""
        changed = [i for i, request in enumerate(requests) if self._changes_logits(request)]
        if not changed:
            return logits, {}
        rows = logits[changed]
        chosen = [requests[i] for i in changed]
        apply_masks(rows, chosen, self._eos_token_ids)
        errors = self._apply_processors(rows, chosen)
        penalised = [i for i, request in enumerate(chosen) if request.sampling_params.penalises]
        if penalised:
            penalised_requests = [chosen[i] for i in penalised]
            histories = [self._history(r, logits.shape[-1]) for r in penalised_requests]
            rows[penalised] = apply_penalties(rows[penalised], penalised_requests, histories)
        for row in rows.isneginf().all(dim=-1).nonzero().flatten().tolist():
            errors.setdefault(row, "its settings leave no token to choose")
        for row in errors:
            rows[row] = 0
        processed = logits.clone()
        processed[changed] = rows
        return processed, {changed[row]: error for row, error in errors.items()}

    def _changes_logits(self, request: Request) -> bool:
        too_short = request.num_output_tokens < request.sampling_params.min_tokens
        return too_short or self._states[request.request_id].changes_logits

    def _apply_processors(self, rows: Tensor, requests: Sequence[Request]) -> dict[int, str]:
        """Run plugins' processors row by row; one that fails costs its own request alone."""
        errors: dict[int, str] = {}
        for row, request in enumerate(requests):
            prompt = request.token_ids[: request.num_prompt_tokens]
            output = request.token_ids[request.num_prompt_tokens :]
            for name, processor in self._states[request.request_id].processors.items():
                try:
                    rows[row] = processor(prompt, output, rows[row])
                except Exception as error:  # noqa: BLE001 - plugin code
                    errors[row] = f"logits processor {name!r} failed: {error}"
                    break
        return errors

    def _history(self, request: Request, vocab_size: int) -> TokenHistory:
        state = self._states[request.request_id]
        if state.history is None:
            state.history = TokenHistory(request, vocab_size, self._device)
        return state.history

    def _choose(
        self, logits: Tensor, requests: Sequence[Request], errors: dict[int, str]
    ) -> list[int]:
        """A token of each row; rows that are no numbers are added to `errors`."""
        params = [request.sampling_params for request in requests]
        if all(p.greedy for p in params):
            settings = self._greedy_settings(len(params))
        else:
            logits = apply_min_p(logits, params)
            settings = self._settings(params, requests)
        token_ids: list[int] = self._draw(logits, *settings).tolist()
        for row, token_id in enumerate(token_ids):
            if token_id < 0:
                errors.setdefault(row, f"the model gave {logits[row].max().item()} as a logit")
        return token_ids

    def _settings(self, params: Sequence[SamplingParams], requests: Sequence[Request]) -> _Settings:
        uniform = [0.0 if r.sampling_params.greedy else self._uniform(r) for r in requests]
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

    def _uniform(self, request: Request) -> float:
        """In [0, 1), exact in float32."""
        return int(self._random(request).random() * _UNIFORM_STEPS) / _UNIFORM_STEPS

    def _random(self, request: Request) -> random.Random:
        """The request's own stream of random numbers."""
        state = self._states[request.request_id]
        if state.random is None:
            seed = request.sampling_params.seed
            # Random takes a seed without its sign.
            state.random = random.Random(None if seed is None else seed % _NUM_SEEDS)
        return state.random
