"""Rotary position embedding in plain torch."""

import torch
from torch import Tensor


def rotary_embedding(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See `kernels.ops.RotaryEmbedding`. Su et al., 2021 (arXiv:2104.09864), halves rotated."""
    first, second = x.chunk(2, dim=-1)
    rotated = torch.cat((-second, first), dim=-1)
    return x * cos.unsqueeze(1) + rotated * sin.unsqueeze(1)
