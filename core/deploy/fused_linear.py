"""Linear layers of one input, computed as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FusedLinear(nn.Module):
    """The rows of several layers in one. Raises ValueError if they don't take one input, or only
    some have biases."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        if len({layer.in_features for layer in layers}) > 1:
            raise ValueError("the layers take inputs of different widths")
        if len({layer.bias is None for layer in layers}) > 1:
            raise ValueError("only some of the layers have biases")
        self._sizes = [layer.out_features for layer in layers]
        self.linear = nn.Linear(layers[0].in_features, sum(self._sizes), device="meta")
        weight = torch.cat([layer.weight for layer in layers])
        self.linear.weight = nn.Parameter(weight, requires_grad=False)
        bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
        self.linear.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self._input: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}

    def parts(self) -> list[LinearPart]:
        """What takes the layers' places."""
        return [LinearPart(self, index) for index in range(len(self._sizes))]

    def output(self, index: int, x: Tensor) -> Tensor:
        """What one layer gives. The others' outputs are kept until they are asked for, with the
        same tensor."""
        if self._input is not x or index not in self._outputs:
            self._input = x
            self._outputs = dict(enumerate(self.linear(x).split(self._sizes, dim=-1)))
        output = self._outputs.pop(index)
        if not self._outputs:
            self._input = None
        return output


class LinearPart(nn.Module):
    """One of the layers that a FusedLinear stands for."""

    def __init__(self, fused: FusedLinear, index: int) -> None:
        super().__init__()
        self.fused = fused
        self._index = index

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return self.fused.output(self._index, x)
