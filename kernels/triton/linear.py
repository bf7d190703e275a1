"""Linear layers whose weights are stored in fewer bits and multiplied in the dtype of x."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from ..ops import QuantizedWeight
from .layout import rows_of
from .linear_kernels import dequant_linear_kernel, sum_parts_kernel

#: Programs that decode steps are split into, so that each of a large GPU's multiprocessors reads
#: for several: 132 of an H100, 108 of an A100.
_PROGRAMS = 512


def dequant_linear(x: Tensor, weight: QuantizedWeight, bias: Tensor | None = None) -> Tensor:
    """See `kernels.ops.DequantLinear`. Scales and zeros, in float32, are applied to the partial
    sums of each group: values are multiplied as they are stored.

    Raises ValueError for groups of a size that is not a multiple of 16 bytes, unless there is
    one group per channel.
    """
    rows = rows_of(x)
    bias = None if bias is None else bias.contiguous()
    num_rows, in_features = rows.shape
    if in_features != weight.in_features:
        raise ValueError(
            f"dequant_linear: x has {in_features} features and the weight {weight.in_features}"
        )
    output = torch.empty((num_rows, weight.out_features), dtype=x.dtype, device=x.device)
    if num_rows:
        _launch(rows, weight, bias, output)
    return output.view(*x.shape[:-1], weight.out_features)


def _launch(rows: Tensor, weight: QuantizedWeight, bias: Tensor | None, output: Tensor) -> None:
    num_rows, out_features = output.shape
    tile = _tile(num_rows, rows.dtype, weight)
    tiles = (
        triton.cdiv(out_features, tile["block_out"]),
        triton.cdiv(num_rows, tile["block_rows"]),
    )
    steps = triton.cdiv(weight.data.shape[1], tile["step"])
    num_parts = max(1, min(_PROGRAMS // (tiles[0] * tiles[1]), steps // 4))
    steps_per_part = triton.cdiv(steps, num_parts)
    num_parts = triton.cdiv(steps, steps_per_part)
    parts = None
    if num_parts > 1:
        shape = (num_parts, num_rows, out_features)
        parts = torch.empty(shape, dtype=torch.float32, device=output.device)
    dequant_linear_kernel[(*tiles, num_parts)](
        rows,
        # Bytes for both eight-bit formats: GPUs before compute capability 8.9 know no float8.
        weight.data.view(torch.uint8) if weight.format == "fp8" else weight.data,
        weight.scale,
        weight.zero,
        bias if parts is None else None,
        output if parts is None else parts,
        num_rows,
        out_features,
        rows.stride(0),
        weight.data.stride(0),
        weight.scale.stride(0),
        steps_per_part,
        format=weight.format,
        packed_features=weight.data.shape[1],
        group_bytes=weight.data.shape[1] // weight.scale.shape[1],
        **tile,
    )
    if parts is not None:
        block = 1024
        sum_parts_kernel[(num_rows, triton.cdiv(out_features, block))](
            parts, bias, output, num_parts, num_rows, out_features, block=block
        )


def _tile(num_rows: int, dtype: torch.dtype, weight: QuantizedWeight) -> dict[str, int]:
    """A program's outputs and rows of x, and the bytes of a weight's row that a step of its loop
    reads: the largest that spill no registers on compute capability 8.0 and 9.0."""
    few = num_rows <= 32
    # An int4 byte meets two columns of x.
    step = 32 if weight.format == "int4" and not few else 64
    if dtype is torch.float32:
        step //= 2
    groups = weight.scale.shape[1]
    if groups > 1:
        step = _within_group(step, weight)
    if few:
        rows = max(16, triton.next_power_of_2(num_rows))
        outputs, warps, stages = 64, 4, 4
    else:
        rows = 64 if dtype is torch.float32 or groups > 1 else 128
        outputs, warps, stages = 128, 8, 3
    return {
        "block_out": outputs,
        "block_rows": rows,
        "step": step,
        "num_warps": warps,
        "num_stages": stages,
    }


def _within_group(step: int, weight: QuantizedWeight) -> int:
    """The largest power of two up to step of which a group's bytes are a multiple."""
    group_bytes = weight.data.shape[1] // weight.scale.shape[1]
    step = min(step, group_bytes & -group_bytes)
    if step < 16:
        raise ValueError(
            f"dequant_linear: a group of {weight.group_size} takes {group_bytes} bytes in "
            f"{weight.format}; the GPU kernel needs a multiple of 16"
        )
    return step
