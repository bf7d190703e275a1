"""Top-k and top-p sampling in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_top_k_top_p(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor
) -> Tensor:
    """See `kernels.ops.SampleTopKTopP`. Top-p is Holtzman et al., 2020 (arXiv:1904.09751).
    Probabilities are float32, or float64 if the logits are."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    greedy = temperature == 0
    # Greedy rows take the same path, undivided.
    divisor = temperature.masked_fill(greedy, 1).to(wide.dtype)[:, None]
    ordered, order = wide.sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(wide.shape[-1], device=wide.device)
    dropped = (top_k > 0)[:, None] & (ranks >= top_k[:, None])
    probs = (ordered / divisor).masked_fill(dropped, float("-inf")).softmax(dim=-1)
    before = probs.cumsum(dim=-1) - probs
    share = top_p.to(wide.dtype)[:, None]
    probs = probs.masked_fill((share < 1) & (before >= share) & (ranks > 0), 0)
    probs = torch.zeros_like(probs).scatter_(-1, order, probs)
    running = probs.cumsum(dim=-1)
    reached = running > uniform.to(wide.dtype)[:, None] * running[:, -1:]
    drawn = (reached & (probs > 0)).int().argmax(dim=-1)
    chosen = torch.where(greedy, order[:, 0], drawn)
    return chosen.masked_fill(~wide.amax(dim=-1).isfinite(), -1)
