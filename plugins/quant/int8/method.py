"""Symmetric, rounded to the nearest of 255 steps; activations stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ....core.contracts import JsonDict

_LARGEST = 127
#: Rows up to which reading half the bytes outweighs the simpler product.
_FEW_ROWS = 4
_VECTOR = 32


class Int8Linear(nn.Module):
    """y = x (scale · weight)ᵀ + bias. weight: int8 [out, in]; scale: [out]."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor | None
        # torch's own product reads whole vectors, and beyond the end of other sizes.
        self._packs = weight.device.type == "cpu" and not any(n % _VECTOR for n in weight.shape)

    @classmethod
    def from_linear(cls, layer: nn.Linear) -> Int8Linear:
        """Quantise a layer: the error of a weight is at most half of its channel's scale."""
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST
        steps = (weight / scale[:, None]).round().to(torch.int8)
        bias = None if layer.bias is None else layer.bias.detach()
        return cls(steps, scale.to(layer.weight.dtype), bias)

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, in] -> [num_tokens, out]."""
        product: Tensor
        if self._packs and x.dtype is torch.bfloat16 and x.shape[0] <= _FEW_ROWS:
            product = torch.ops.aten._weight_int8pack_mm(x, self.weight, self.scale)
        else:
            product = linear(x, self.weight.to(x.dtype)) * self.scale
        return product if self.bias is None else product + self.bias


class Int8Method:
    """See `core.interfaces.QuantMethod`. Raises ValueError for a checkpoint that stores weights
    in 8 bits, as each tool does so in its own way."""

    def __init__(self, settings: JsonDict) -> None:
        if settings:
            raise ValueError("int8 quantises plain checkpoints; this one is quantised already")

    def prepare(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Never asked for."""
        return None

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Every layer."""
        return Int8Linear.from_linear(layer)
