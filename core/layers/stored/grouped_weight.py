"""Weights as the kernels' formats have them, from steps, scales and zeros of groups."""

from __future__ import annotations

import torch
from torch import Tensor

from ....kernels.int4 import pack_int4
from ....kernels.ops import QuantizedWeight

_HALF_RANGE = 128


def grouped_weight(steps: Tensor, scales: Tensor, zeros: Tensor, bits: int) -> QuantizedWeight:
    """scale · (step - zero), exactly. steps: uint8 [out, in], of 2, 4 or 8 bits; scales, and zeros
    in steps: [out, groups] of inputs that lie together."""
    scale, zero = scales.float().contiguous(), zeros.float()
    group_size = steps.shape[1] // scale.shape[1]
    if bits <= 4:
        data = pack_int4(steps, group_size)
        return QuantizedWeight("int4", data, scale, -scale * zero, group_size)
    # Signed bytes, in which the middle of the range is 0; without zeros if that is where they are.
    data = (steps.to(torch.int16) - _HALF_RANGE).to(torch.int8).contiguous()
    middle = bool((zero == _HALF_RANGE).all())
    offset = None if middle else scale * (_HALF_RANGE - zero)
    return QuantizedWeight("int8", data, scale, offset, group_size)
