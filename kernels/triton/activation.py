"""Gated activations."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import rows_of

_BLOCK = 1024


def silu_and_mul(gate: Tensor, up: Tensor) -> Tensor:
    """See `kernels.ops.GatedActivation`."""
    return _launch(gate, up, gelu=False)


def gelu_tanh_and_mul(gate: Tensor, up: Tensor) -> Tensor:
    """See `kernels.ops.GatedActivation`. Hendrycks and Gimpel, 2016 (arXiv:1606.08415)."""
    return _launch(gate, up, gelu=True)


def _launch(gate: Tensor, up: Tensor, gelu: bool) -> Tensor:
    width = gate.shape[-1]
    # Halves of one matrix are rows with a stride, which a view can hold: nothing is copied.
    gate_rows, up_rows = rows_of(gate), rows_of(up)
    output = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    if gate.numel():
        _gated_activation_kernel[(len(gate_rows), triton.cdiv(width, _BLOCK))](
            gate_rows,
            up_rows,
            output,
            width,
            gate_rows.stride(0),
            up_rows.stride(0),
            gelu=gelu,
            block=_BLOCK,
        )
    return output


@triton.jit
def _gated_activation_kernel(
    gate,
    up,
    output,
    width,
    gate_stride,
    up_stride,
    gelu: tl.constexpr,
    block: tl.constexpr,
):
    """One program computes a block of one row, in float32. The output is contiguous."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    x = tl.load(gate + row * gate_stride + columns, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(up + row * up_stride + columns, mask=inside, other=0.0).to(tl.float32)
    if gelu:
        # (1 + tanh(u)) / 2 = sigmoid(2u), with u = sqrt(2 / pi) * (x + 0.044715 x^3)
        activated = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    else:
        activated = x * tl.sigmoid(x)
    tl.store(output + row * width + columns, activated * factor, mask=inside)
