"""Linear layers with quantised weights in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..int4 import unpack_int4
from ..ops import QuantizedWeight


def dequant_linear(x: Tensor, weight: QuantizedWeight, bias: Tensor | None = None) -> Tensor:
    """See `kernels.ops.DequantLinear`. Sums in float32, or in float64 if x is."""
    wide = torch.promote_types(x.dtype, torch.float32)
    wide_bias = None if bias is None else bias.to(wide)
    return linear(x.to(wide), dequantize(weight).to(wide), wide_bias).to(x.dtype)


def dequantize(weight: QuantizedWeight) -> Tensor:
    """The weight itself, float32 [out_features, in_features]."""
    is_int4 = weight.format == "int4"
    steps = unpack_int4(weight.data, weight.group_size) if is_int4 else weight.data
    groups = steps.view(weight.out_features, weight.scale.shape[1], -1)
    values: Tensor = groups.float() * weight.scale[..., None]
    if weight.zero is not None:
        values = values + weight.zero[..., None]
    return values.flatten(1)
