"""Normalisation layers."""

import torch
from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from .known_modules import is_known


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale.

    unit_offset: the scale is 1 + weight, in float32, as in Gemma.
    """

    def __init__(
        self, hidden_size: int, eps: float, kernels: KernelTable, unit_offset: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self.eps = eps
        self._unit_offset = unit_offset
        self._kernel = kernels.rms_norm
        self._add_kernel = kernels.add_rms_norm

    @property
    def scale(self) -> Tensor:
        """Factor of normalised values."""
        return 1.0 + self.weight.float() if self._unit_offset else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of x."""
        return self._kernel(x, self.scale, self.eps)

    def add(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """The norm of x + residual, and that sum."""
        if not is_known(self, RMSNorm):
            # A subclass's `forward` may compute anything.
            total = x + residual
            return self(total), total
        return self._add_kernel(x, residual, self.scale, self.eps)


def norm_weights(norm: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Factors and offsets of an nn.LayerNorm, or of an RMSNorm, without offsets; None for other
    types of norm."""
    if is_known(norm, RMSNorm):
        assert isinstance(norm, RMSNorm)
        return norm.scale.detach(), None
    if is_known(norm, nn.LayerNorm):
        assert isinstance(norm, nn.LayerNorm)
        return norm.weight.detach(), norm.bias.detach()
    return None
