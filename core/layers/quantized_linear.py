"""A linear layer whose weight is stored in fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ...kernels.int4 import pack_int4
from ...kernels.ops import DequantLinear, QuantizedWeight
from ...kernels.reference import dequant_linear
from ...kernels.weights import LinearWeight
from .known_modules import is_known

_VALUES_AT_ONCE = 1 << 18


class QuantizedLinear(nn.Module):
    """y = x · weightᵀ + bias; the weight's tensors are buffers, named as its fields.

    kernel: multiplies, unless the layer is prepared for another one.
    """

    def __init__(
        self,
        weight: QuantizedWeight,
        bias: Tensor | None = None,
        kernel: DequantLinear = dequant_linear,
    ) -> None:
        super().__init__()
        self.register_buffer("data", weight.data)
        self.register_buffer("scale", weight.scale)
        self.register_buffer("zero", weight.zero)
        self.register_buffer("bias", bias)
        self.data: Tensor
        self.scale: Tensor
        self.zero: Tensor | None
        self.bias: Tensor | None
        self._format = weight.format
        self._group_size = weight.group_size
        self.kernel = kernel

    @property
    def weight(self) -> QuantizedWeight:
        """The weight, of the buffers as they are now."""
        return QuantizedWeight(self._format, self.data, self.scale, self.zero, self._group_size)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        return self.kernel(x, self.weight, self.bias)


def use_dequant_kernel(model: nn.Module, kernel: DequantLinear) -> None:
    """Have the QuantizedLinear layers below a module multiply by the device's kernel."""
    for layer in model.modules():
        if isinstance(layer, QuantizedLinear):
            layer.kernel = kernel


def linear_weight(layer: nn.Module) -> LinearWeight | None:
    """Weight and bias of a linear layer; None for an unsupported type, such as a plugin's."""
    if is_known(layer, nn.Linear):
        assert isinstance(layer, nn.Linear)
        bias = None if layer.bias is None else layer.bias.detach()
        return LinearWeight(layer.weight.detach(), bias)
    if is_known(layer, QuantizedLinear):
        assert isinstance(layer, QuantizedLinear)
        return LinearWeight(layer.weight, layer.bias)
    return None


def linear_weights(layers: Iterable[nn.Module]) -> list[LinearWeight] | None:
    """`linear_weight` of each layer; None if any type is unsupported."""
    weights = [linear_weight(layer) for layer in layers]
    known = [weight for weight in weights if weight is not None]
    return known if len(known) == len(weights) else None


def require_weight(layer: nn.Module) -> LinearWeight:
    """`linear_weight` of a supported layer. Raises TypeError for others."""
    weight = linear_weight(layer)
    if weight is None:
        raise TypeError(f"{type(layer).__name__} is not a linear layer whose weight is known")
    return weight


def quantize_rows(weight: Tensor) -> QuantizedWeight:
    """float [out, in] -> int8, symmetric, one scale for each output: a value is off by half of its
    scale at most."""
    data, scale = _by_rows(_round_rows, weight.detach())
    return QuantizedWeight("int8", data, scale, None, weight.shape[1])


def _round_rows(wide: Tensor) -> tuple[Tensor, Tensor]:
    scale = wide.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (wide / scale).round().to(torch.int8), scale


def quantize_groups(weight: Tensor, group_size: int) -> QuantizedWeight:
    """float [out, in] -> int4 with a scale and a zero for each group of inputs: a value is off by
    half of its group's scale at most, besides the rounding of the two to float16."""
    data, scale, zero = _by_rows(partial(_round_groups, group_size), weight.detach())
    return QuantizedWeight("int4", data, scale, zero, group_size)


def _round_groups(group_size: int, wide: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    groups = wide.view(len(wide), -1, group_size)
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    scale = ((high - low) / 15).to(torch.float16).float()
    zero = low.to(torch.float16).float()
    divisor = scale.clamp(min=torch.finfo(torch.float16).tiny)
    q = ((groups - zero[..., None]) / divisor[..., None]).round().clamp(0, 15).to(torch.uint8)
    return pack_int4(q.flatten(1), group_size), scale, zero


def _by_rows(function: Callable[[Tensor], Sequence[Tensor]], weight: Tensor) -> list[Tensor]:
    """Results of a function on a weight in float32, in blocks of rows: that takes less memory than
    converting all of it, and stays in the cache."""
    rows = max(1, _VALUES_AT_ONCE // weight.shape[1])
    results: list[Tensor] = []
    for start in range(0, len(weight), rows):
        parts = function(weight[start : start + rows].float())
        # Made once: results of blocks that lay between what is temporary would leave holes.
        results = results or [part.new_empty(len(weight), *part.shape[1:]) for part in parts]
        for result, part in zip(results, parts, strict=True):
            result[start : start + rows] = part
    return results
