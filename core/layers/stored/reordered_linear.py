"""A linear layer whose inputs come in another order than its weight has them."""

from __future__ import annotations

from torch import Tensor, nn


class ReorderedLinear(nn.Module):
    """order: [in_features], the input that each column of the layer's weight is for."""

    def __init__(self, layer: nn.Module, order: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("order", order)
        self.order: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        result: Tensor = self.layer(x.index_select(-1, self.order))
        return result
