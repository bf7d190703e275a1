"""Root-mean-square normalisation, alone or with the residual added before."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import rows_of

#: Elements of x that one program holds, if a row is shorter.
_TILE = 2048


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """See `kernels.ops.RMSNorm`."""
    normed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _launch(rows_of(x), None, weight, normed, None, eps)
    return normed


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See `kernels.ops.AddRMSNorm`."""
    normed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    summed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _launch(rows_of(x), rows_of(residual), weight, normed, summed, eps)
    return normed, summed


def _launch(
    rows: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    normed: Tensor,
    summed: Tensor | None,
    eps: float,
) -> None:
    num_rows, hidden = rows.shape
    if not num_rows:
        return
    block = triton.next_power_of_2(hidden)
    block_rows = max(1, min(_TILE // block, triton.next_power_of_2(num_rows)))
    _rms_norm_kernel[(triton.cdiv(num_rows, block_rows),)](
        rows,
        residual,
        weight.contiguous(),
        normed,
        summed,
        num_rows,
        rows.stride(0),
        0 if residual is None else residual.stride(0),
        eps,
        hidden=hidden,
        block=block,
        block_rows=block_rows,
        num_warps=4 if block <= _TILE else 8 if block <= 8192 else 16,
    )


@triton.jit
def _rms_norm_kernel(
    x,
    residual,
    weight,
    normed,
    summed,
    num_rows,
    x_stride,
    residual_stride,
    eps,
    hidden: tl.constexpr,
    block: tl.constexpr,
    block_rows: tl.constexpr,
):
    """One program normalises block_rows rows, each whole. Outputs are contiguous."""
    rows = (tl.program_id(0) * block_rows + tl.arange(0, block_rows))[:, None].to(tl.int64)
    columns = tl.arange(0, block)[None, :]
    inside = (rows < num_rows) & (columns < hidden)
    values = tl.load(x + rows * x_stride + columns, mask=inside, other=0.0)
    if residual is not None:
        addend = tl.load(residual + rows * residual_stride + columns, mask=inside, other=0.0)
        values = (values.to(tl.float32) + addend.to(tl.float32)).to(values.dtype)
        tl.store(summed + rows * hidden + columns, values, mask=inside)
    wide = values.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, axis=1, keep_dims=True) / hidden + eps)
    factor = tl.load(weight + columns, mask=columns < hidden, other=0.0)
    # As in the reference, both factors are of the weight's dtype, and so is their product.
    scaled = (wide * scale).to(factor.dtype).to(tl.float32) * factor.to(tl.float32)
    tl.store(
        normed + rows * hidden + columns,
        scaled.to(factor.dtype).to(normed.dtype.element_ty),
        mask=inside,
    )
