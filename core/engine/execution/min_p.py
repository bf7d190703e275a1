"""Min-p: only tokens that are likely enough relative to the likeliest stay (arXiv:2407.01082)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ...protocol.sampling_params import SamplingParams


def apply_min_p(logits: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """logits [n, vocab_size], or a copy with -inf for what is left out after temperature."""
    chosen = [i for i, p in enumerate(params) if p.min_p > 0 and not p.greedy]
    if not chosen:
        return logits
    logits = logits.clone()
    for i in chosen:
        margin = params[i].temperature * math.log(params[i].min_p)
        row = logits[i]
        row.masked_fill_(row < row.max() + margin, -math.inf)
    return logits
