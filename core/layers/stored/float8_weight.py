"""Weights in float8 whose scales belong to blocks, rows, or all of it."""

from __future__ import annotations

from torch import Tensor

from ....kernels.ops import QuantizedWeight


def float8_weight(data: Tensor, scales: Tensor, rows: int) -> QuantizedWeight:
    """data · scale. data: float8_e4m3fn [out, in]; scales: [blocks of so many rows, blocks of
    inputs], the last of which may have fewer rows.

    Raises ValueError for blocks that the inputs are no whole number of.
    """
    outputs, inputs = data.shape
    if inputs % scales.shape[1]:
        raise ValueError(f"{inputs} inputs are not {scales.shape[1]} blocks of one size")
    scale = scales.float().repeat_interleave(rows, dim=0)[:outputs].contiguous()
    return QuantizedWeight("fp8", data.contiguous(), scale, None, inputs // scales.shape[1])
