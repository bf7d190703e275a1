"""Masks of tokens in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_tokens(logits: Tensor, rows: Tensor, bitmask: Tensor) -> None:
    """See `kernels.ops.MaskTokens`."""
    bits = torch.arange(32, dtype=torch.int32, device=logits.device)
    allowed = (bitmask[:, :, None] >> bits & 1).flatten(1)[:, : logits.shape[1]].bool()
    logits[rows] = logits[rows].masked_fill(~allowed, float("-inf"))
