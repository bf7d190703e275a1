"""Random weights in every form that the kernels pack, and exact products with them."""

from __future__ import annotations

from typing import Literal

import torch
from octavo.core.layers.quantized_linear import quantize_groups, quantize_rows
from octavo.kernels.ops import QuantizedWeight
from octavo.kernels.reference import dequantize
from octavo.kernels.weights import FusedStorage, LinearWeight, Storage
from torch import Tensor

Kind = Literal[
    *("float32", "bfloat16", "int8", "int4"),
    *("int4 by 32", "int8 by 32", "int8 by 32 with zeros", "int8 by 16", "fp8"),
]
KINDS: tuple[Kind, ...] = ("float32", "bfloat16", "int8", "int4")
GROUPED_KINDS: tuple[Kind, ...] = (
    *("int4 by 32", "int8 by 32", "int8 by 32 with zeros", "int8 by 16", "fp8"),
)
#: Inputs that share a scale, where not all of a row do.
GROUPS: dict[Kind, int] = {
    **{"int4": 64, "int4 by 32": 32, "fp8": 64},
    **{"int8 by 32": 32, "int8 by 32 with zeros": 32, "int8 by 16": 16},
}
#: What can't be packed, alone or as one.
UNKNOWN = (
    FusedStorage((Storage("int4", 32, 64, 16, has_zero=True),)),
    FusedStorage((Storage("int8", 32, 64, 16, has_zero=True),)),
    FusedStorage((Storage("int8", 32, 64, 8),)),
    FusedStorage((Storage("fp8", 32, 64, 32),)),
    FusedStorage((Storage("float16", 32, 64),)),
    FusedStorage((Storage("int8", 20, 64, 64), Storage("int4", 32, 64, 64))),
    FusedStorage((Storage("int8", 32, 64, 64), Storage("int4", 32, 64, 64)), interleaved=True),
    FusedStorage((Storage("float32", 32, 64), Storage("float32", 32, 128))),
)
#: Inputs that share a step when activations are rounded to eight bits.
GROUP = 64


def random_weight(kind: Kind, n: int, k: int, *, bias: bool = False) -> LinearWeight:
    weight = torch.randn(n, k) / k**0.5
    added = torch.randn(n) if bias else None
    if kind == "int8":
        return LinearWeight(quantize_rows(weight), added)
    if kind in ("int4", "int4 by 32"):
        return LinearWeight(quantize_groups(weight, GROUPS[kind]), added)
    if kind in GROUPS:
        return LinearWeight(_of_bytes(kind, weight), added)
    return LinearWeight(weight if kind == "float32" else weight.bfloat16(), added)


def _of_bytes(kind: Kind, weight: Tensor) -> QuantizedWeight:
    groups = weight.unflatten(1, (-1, GROUPS[kind]))
    zero = groups.mean(2) if kind.endswith("zeros") else torch.zeros(groups.shape[:2])
    largest = (groups - zero[..., None]).abs().amax(2)
    scale = largest / (448 if kind == "fp8" else 127)
    steps = ((groups - zero[..., None]) / scale[..., None]).flatten(1)
    data = steps.to(torch.float8_e4m3fn) if kind == "fp8" else steps.round().to(torch.int8)
    return QuantizedWeight(
        *("fp8" if kind == "fp8" else "int8", data, scale),
        *(zero if kind.endswith("zeros") else None, GROUPS[kind]),
    )


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
    """In float64, but for x, which is rounded if the weight is quantised to whole numbers."""
    if isinstance(weight.weight, QuantizedWeight) and weight.weight.format != "fp8":
        x = rounded_to_steps(x.float())
    return product(x, weight)
