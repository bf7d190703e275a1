"""A linear layer whose inputs come in another order than its weight has them."""

from __future__ import annotations

from collections.abc import Callable

import torch
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


def in_order_of_groups(
    groups: Tensor, count: int, make: Callable[[Tensor], nn.Module]
) -> nn.Module:
    """A layer whose inputs belong to so many groups of one size, those of a group together.

    groups: [in_features], the group of each input. make: gives the layer with its inputs in an
    order. Raises ValueError for groups of other sizes.
    """
    order = groups.argsort(stable=True)
    sizes = torch.arange(count).repeat_interleave(len(groups) // count)
    if not torch.equal(groups[order].long(), sizes):
        raise ValueError(f"the inputs are not in {count} groups of one size")
    layer = make(order)
    in_order = torch.equal(order, torch.arange(len(order)))
    return layer if in_order else ReorderedLinear(layer, order)
