"""Normalisation layers."""

import torch
from torch import Tensor, nn

from ...kernels.dispatch import KernelTable


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale.

    unit_offset: the scale is 1 + weight, in float32, as in Gemma.
    """

    def __init__(
        self, hidden_size: int, eps: float, kernels: KernelTable, unit_offset: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self._eps = eps
        self._unit_offset = unit_offset
        self._kernel = kernels.rms_norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of x."""
        scale = 1.0 + self.weight.float() if self._unit_offset else self.weight
        return self._kernel(x, scale, self._eps)
