"""Random weights in every form that the kernels pack, and exact products with them."""

from __future__ import annotations

from typing import Literal

import torch
from octavo.core.layers.quantized_linear import quantize_groups, quantize_rows
from octavo.kernels.ops import QuantizedWeight
from octavo.kernels.reference import dequantize
from octavo.kernels.weights import LinearWeight, Storage
from torch import Tensor

Kind = Literal["float32", "bfloat16", "int8", "int4"]
KINDS: tuple[Kind, ...] = ("float32", "bfloat16", "int8", "int4")
#: What can't be packed, alone or as one.
UNKNOWN = (
    [Storage("int4", 64, 32, has_zero=True)],
    [Storage("int8", 64, 32)],
    [Storage("int8", 64, 64, has_zero=True)],
    [Storage("fp8", 64, 64)],
    [Storage("float16", 64)],
    [Storage("int8", 64, 64), Storage("int4", 64, 64)],
    [Storage("float32", 64), Storage("int8", 64, 64)],
    [Storage("float32", 64), Storage("float32", 128)],
)
#: Inputs that share a step when activations are rounded to eight bits.
GROUP = 64


def random_weight(kind: Kind, n: int, k: int, *, bias: bool = False) -> LinearWeight:
    weight = torch.randn(n, k) / k**0.5
    added = torch.randn(n) if bias else None
    if kind == "int8":
        return LinearWeight(quantize_rows(weight), added)
    if kind == "int4":
        return LinearWeight(quantize_groups(weight, GROUP), added)
    return LinearWeight(weight if kind == "float32" else weight.bfloat16(), added)


def values_of(weight: LinearWeight) -> Tensor:
    """float64 [n, k]."""
    w = weight.weight
    return (dequantize(w) if isinstance(w, QuantizedWeight) else w).double()


def product(x: Tensor, weight: LinearWeight) -> Tensor:
    """Exactly x · wᵀ + bias, as far as float64 goes."""
    exact = x.double() @ values_of(weight).T
    return exact if weight.bias is None else exact + weight.bias.double()


def steps_of(x: Tensor) -> Tensor:
    """The step of each input's group when a row is rounded to eight bits, [rows, k]."""
    rows, k = x.shape
    padded = torch.zeros(rows, -(-k // GROUP) * GROUP).index_copy(1, torch.arange(k), x.float())
    steps = padded.view(rows, -1, GROUP).abs().amax(2) / 127
    return steps.repeat_interleave(GROUP, dim=1)[:, :k]


def rounded_to_steps(x: Tensor) -> Tensor:
    """x, float32, as a quantised weight is multiplied with it."""
    steps = steps_of(x)
    return torch.where(steps > 0, (x / steps).round() * steps, 0)


def exact_linear(x: Tensor, weight: LinearWeight) -> Tensor:
    """In float64, but for x, which is rounded if the weight is quantised."""
    if isinstance(weight.weight, QuantizedWeight):
        x = rounded_to_steps(x.float())
    return product(x, weight)
