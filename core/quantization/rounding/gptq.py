"""GPTQ: rounding of a layer column by column, where each column's error is made good by those that
are not rounded yet.

Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", 2022 (https://arxiv.org/abs/2210.17323).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .grid import Grid, Rounded, fit_scales, to_steps

#: Columns whose errors are carried to those after them at once.
_BLOCK = 128


def gptq(
    weight: Tensor, hessian: Tensor, grid: Grid, dtype: torch.dtype, damping: float, ordered: bool
) -> Rounded:
    """Round so that outputs change least.

    weight: float32 [out, in]. hessian: [in, in], the sum of the inputs' outer products. dtype: of
    the scales. damping: added to the diagonal, as a share of its mean. ordered: the columns with
    the largest inputs first, with scales found before, so that groups stay of inputs that lie
    together ("static groups"); else a group's scales are found as it is reached.
    """
    diagonal = hessian.diagonal()
    order = torch.arange(len(diagonal), device=weight.device)
    if ordered:
        order = diagonal.argsort(descending=True, stable=True)
    factor = _inverse_factor(hessian[order][:, order].double(), damping)
    size = grid.size(weight.shape[1])
    scales = torch.empty(len(weight), weight.shape[1] // size, dtype=dtype, device=weight.device)
    zeros = torch.empty_like(scales, dtype=torch.uint8)
    if ordered:
        scales, zeros = fit_scales(weight, grid, dtype, diagonal)
    work, steps = weight[:, order], torch.empty_like(weight)
    alone = replace(grid, group_size=0)
    for start in range(0, weight.shape[1], _BLOCK):
        stop = min(start + _BLOCK, weight.shape[1])
        errors = torch.empty_like(work[:, start:stop])
        for i in range(start, stop):
            if not ordered and i % size == 0:
                # Columns of this block are up to date; those after it lack its errors as yet.
                ahead = work[:, i : i + size].clone()
                if i + size > stop:
                    ahead[:, stop - i :] -= (
                        errors[:, : i - start] @ factor[start:i, stop : i + size]
                    )
                reached = slice(i // size, i // size + 1)
                scales[:, reached], zeros[:, reached] = fit_scales(
                    ahead, alone, dtype, diagonal[i : i + size]
                )
            group = int(order[i]) // size
            scale, zero = scales[:, group], zeros[:, group]
            # In float32, float8's too, which it holds as they are.
            steps[:, i] = to_steps(work[:, i], scale, zero, grid)
            off = work[:, i] - scale.float() * (steps[:, i] - zero.float())
            error = off / factor[i, i]
            work[:, i + 1 : stop] -= torch.outer(error, factor[i, i + 1 : stop])
            errors[:, i - start] = error
        work[:, stop:] -= errors @ factor[start:stop, stop:]
    unordered = torch.empty_like(steps)
    unordered[:, order] = steps
    return Rounded(unordered.to(grid.dtype), scales, zeros)


def _inverse_factor(hessian: Tensor, damping: float) -> Tensor:
    """The upper Cholesky factor of the inverse, float32. An input that is always 0 has 1 on the
    diagonal: any weight is as good for it."""
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()
