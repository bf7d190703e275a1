"""The distribution that tokens are drawn from: temperature, min-p, top-k, top-p."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .sampling_params import SamplingParams


def sampling_probs(logits: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Probabilities [n, vocab_size] after temperature, then min-p, top-k and top-p."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]

    logits = logits / column([p.temperature for p in params])
    if any(p.min_p > 0 for p in params):
        probs = logits.softmax(dim=-1)
        threshold = column([p.min_p for p in params]) * probs.amax(dim=-1, keepdim=True)
        logits = logits.masked_fill(probs < threshold, float("-inf"))
    if all(p.top_k <= 0 and p.top_p == 1 for p in params):
        return logits.softmax(dim=-1)
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    vocab_size = logits.shape[-1]
    limits = column([p.top_k if p.top_k > 0 else vocab_size for p in params])
    ranks = torch.arange(vocab_size, device=logits.device)
    probs = ordered.masked_fill(ranks >= limits, float("-inf")).softmax(dim=-1)
    # A token stays if those before it don't yet reach top_p; the first one always does.
    before = probs.cumsum(dim=-1) - probs
    top_p = column([p.top_p for p in params])
    probs = probs.masked_fill((before >= top_p) & (top_p < 1), 0)
    probs /= probs.sum(dim=-1, keepdim=True)
    return torch.zeros_like(probs).scatter_(-1, order, probs)
