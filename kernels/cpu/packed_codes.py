"""A weight's codes and factors as src/pack.cpp takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..int4 import pack_int4, unpack_int4
from ..ops import QuantizedWeight
from .weight_format import BLOCK, GROUP_INPUTS, Format

#: A float8's value to that of the float16 with its bits; see src/simd.h: load_float8.
_FLOAT8_FACTOR = 256
_FLOAT8_NAN = 0x7F


@dataclass(frozen=True)
class Codes:
    """values: [n, …] in the format's own elements. scale, offset: [n, groups] in the type of its
    factors; output_scale: float32 [n], of what is multiplied with the others."""

    format: Format
    inputs: int
    values: Tensor
    scale: Tensor | None = None
    offset: Tensor | None = None
    output_scale: Tensor | None = None


def quantized_codes(weight: QuantizedWeight, format: Format) -> Codes:
    """Of a weight whose format this is. Raises ValueError for float8 that is not a number."""
    inputs = weight.in_features
    if format is Format.INT8:
        return Codes(format, inputs, weight.data, output_scale=weight.scale[:, 0])
    if format is Format.FLOAT8_BY_64:
        values = weight.data.view(torch.uint8)
        if bool(((values & _FLOAT8_NAN) == _FLOAT8_NAN).any()):
            raise ValueError("a float8 weight has values that are not numbers")
        return Codes(
            format, inputs, values, _by_group(weight, weight.scale, format) * _FLOAT8_FACTOR
        )
    zero = torch.zeros_like(weight.scale) if weight.zero is None else weight.zero
    output_scale = _power_of_two(weight.scale, zero)
    scale, offset = (
        _by_group(weight, factors / output_scale[:, None], format).to(torch.float16)
        for factors in (weight.scale, zero)
    )
    values = weight.data if weight.format == "int8" else _nibbles(weight)
    return Codes(format, inputs, values.contiguous(), scale, offset, output_scale)


def _nibbles(weight: QuantizedWeight) -> Tensor:
    """As blocks hold them, the last of which may be filled up."""
    if weight.group_size == BLOCK:
        return weight.data
    steps = unpack_int4(weight.data, weight.group_size)
    return pack_int4(pad(steps, (0, -weight.in_features % BLOCK)), BLOCK)


def _by_group(weight: QuantizedWeight, factors: Tensor, format: Format) -> Tensor:
    """A factor for each of the format's groups, of one for each of the weight's."""
    inputs = GROUP_INPUTS[format]
    repeats = -(-weight.group_size // inputs)
    return factors.repeat_interleave(repeats, dim=1).contiguous()


def _power_of_two(scale: Tensor, zero: Tensor) -> Tensor:
    """Of each output about the size of its factors."""
    sizes = torch.maximum(scale.abs().amax(1), zero.abs().amax(1) / 16)
    return torch.where(sizes > 0, torch.exp2(sizes.log2().floor().clamp(-120, 120)), 1.0)
