"""Steps of four bits, two in a byte, as `QuantizedWeight` has them: a group's first half in the low
bits, its second half in the high ones."""

from __future__ import annotations

import torch
from torch import Tensor


def pack_int4(steps: Tensor, group_size: int) -> Tensor:
    """uint8 [rows, inputs], each below 16 -> uint8 [rows, inputs / 2]."""
    halves = steps.reshape(len(steps), -1, 2, group_size // 2)
    return (halves[:, :, 0] | halves[:, :, 1] << 4).flatten(1).contiguous()


def unpack_int4(data: Tensor, group_size: int) -> Tensor:
    """uint8 [rows, inputs / 2] -> uint8 [rows, inputs]."""
    halves = data.reshape(len(data), -1, group_size // 2)
    return torch.cat((halves & 15, halves >> 4), dim=2).flatten(1)
