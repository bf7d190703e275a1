"""Linear layers that a kernel runs with packed weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from ...kernels.prepared import PreparedLinear
from .quantized_linear import linear_weight


class PreparedLinearLayer(nn.Module):
    """y = x · weightᵀ + bias. The tensors that hold the weight are buffers, `prepared_0`, …"""

    def __init__(self, prepared: PreparedLinear) -> None:
        super().__init__()
        self._prepared = prepared
        for i, tensor in enumerate(prepared.tensors()):
            self.register_buffer(f"prepared_{i}", tensor)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        rows = self._prepared(x.reshape(-1, x.shape[-1]))
        return rows.view(*x.shape[:-1], -1)


def prepare_linear_layers(module: nn.Module, kernels: KernelTable, dtype: torch.dtype) -> int:
    """Replace the linear layers below a module by prepared ones, where there is a kernel; returns
    their number."""
    count = 0
    for name in [name for name, layer in module.named_modules() if name and linear_weight(layer)]:
        layer = module.get_submodule(name)
        prepared = prepared_linear(layer, kernels, dtype)
        if prepared is not layer:
            module.set_submodule(name, prepared)
            count += 1
    return count


def prepared_linear(layer: nn.Module, kernels: KernelTable, dtype: torch.dtype) -> nn.Module:
    """A linear layer with a kernel, where there is one for it; else the layer itself."""
    weight = linear_weight(layer)
    kernel = None if weight is None else kernels.linear(weight, dtype)
    return layer if kernel is None else PreparedLinearLayer(kernel)
