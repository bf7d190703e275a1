"""Normalisation layers."""

import torch
from torch import Tensor, nn

from ...kernels.dispatch import KernelTable


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale."""

    def __init__(self, hidden_size: int, eps: float, kernels: KernelTable) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self._eps = eps
        self._kernel = kernels.rms_norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of x."""
        return self._kernel(x, self.weight, self._eps)
