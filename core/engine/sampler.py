"""Chooses the next token of every request in a batch, each by its own settings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .messages import TokenLogprobs
from .request import Request
from .sampling_params import SamplingParams
from .scheduler import SampledToken


class Sampler:
    """Batched sampling. Each request draws from a random stream of its own, so that its output
    depends on its seed and not on what else is in the batch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._generators: dict[str, torch.Generator] = {}

    def forget(self, request_id: str) -> None:
        """Drop the random stream of a request that has ended."""
        self._generators.pop(request_id, None)

    @torch.inference_mode()
    def sample(self, logits: Tensor, requests: Sequence[Request]) -> dict[str, SampledToken]:
        """logits: [num_requests, vocab_size], float32; returns a token for each request id."""
        if not requests:
            return {}
        params = [request.sampling_params for request in requests]
        chosen = logits.argmax(dim=-1)
        random_rows = [i for i, p in enumerate(params) if not p.greedy]
        if random_rows:
            rows = torch.tensor(random_rows, device=self._device)
            probs = sampling_probs(logits[rows], [params[i] for i in random_rows])
            chosen[rows] = self._draw(probs, [requests[i] for i in random_rows])
        token_ids = chosen.tolist()
        logprobs = _gather_logprobs(logits, token_ids, params)
        return {
            request.request_id: SampledToken(token_id, logprob)
            for request, token_id, logprob in zip(requests, token_ids, logprobs, strict=True)
        }

    def _draw(self, probs: Tensor, requests: Sequence[Request]) -> Tensor:
        """One token per row with the row's probabilities, by exponential races: the first
        arrival of independent exponentials with rates p is i with probability p[i]."""
        arrivals = torch.empty_like(probs)
        for row, request in zip(arrivals, requests, strict=True):
            row.exponential_(generator=self._generator(request))
        return (probs / arrivals).argmax(dim=-1)

    def _generator(self, request: Request) -> torch.Generator:
        generator = self._generators.get(request.request_id)
        if generator is None:
            generator = torch.Generator(self._device)
            seed = request.sampling_params.seed
            if seed is None:
                generator.seed()
            else:
                generator.manual_seed(seed)
            self._generators[request.request_id] = generator
        return generator


def sampling_probs(logits: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Probabilities [n, vocab_size] after temperature, then top-k, then top-p."""
    column = {"dtype": torch.float32, "device": logits.device}
    temperatures = torch.tensor([p.temperature for p in params], **column)  # type: ignore[arg-type]
    logits = logits / temperatures[:, None]
    if all(p.top_k <= 0 and p.top_p == 1 for p in params):
        return logits.softmax(dim=-1)
    vocab_size = logits.shape[-1]
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    limits = [p.top_k if p.top_k > 0 else vocab_size for p in params]
    ranks = torch.arange(vocab_size, device=logits.device)
    ordered = ordered.masked_fill(
        ranks >= torch.tensor(limits, device=logits.device)[:, None], float("-inf")
    )
    probs = ordered.softmax(dim=-1)
    top_p = torch.tensor([p.top_p for p in params], **column)  # type: ignore[arg-type]
    mass_before = probs.cumsum(dim=-1) - probs
    probs = probs.masked_fill((mass_before >= top_p[:, None]) & (top_p[:, None] < 1), 0.0)
    probs = probs / probs.sum(dim=-1, keepdim=True)
    return torch.zeros_like(probs).scatter_(-1, order, probs)


def _gather_logprobs(
    logits: Tensor, token_ids: Sequence[int], params: Sequence[SamplingParams]
) -> list[TokenLogprobs | None]:
    """Log-probabilities, for the requests that ask for them, before temperature."""
    gathered: list[TokenLogprobs | None] = [None] * len(params)
    for i, p in enumerate(params):
        if p.logprobs is not None:
            logprobs = logits[i].log_softmax(dim=-1)
            count = len(logprobs) if p.logprobs < 0 else min(p.logprobs, len(logprobs))
            top = logprobs.topk(count)
            chosen = logprobs[token_ids[i]]
            gathered[i] = TokenLogprobs(
                chosen=chosen.item(),
                rank=int((logprobs > chosen).sum().item()) + 1,
                top_ids=top.indices.tolist(),
                top_logprobs=top.values.tolist(),
            )
    return gathered
