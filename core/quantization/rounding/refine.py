"""A rounded weight made better by turns: scales for its numbers, then numbers for its scales.

Numbers are found by coordinate descent: Behdin, Acharya, Gupta, Song, Zhu, Keerthi and Mazumder,
"QuantEase: Optimization-based Quantization for Language Models", 2023
(https://arxiv.org/abs/2309.01885). Scales are those of least squares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import Grid, Rounded, to_steps

#: Turns; what later ones save is little.
_TURNS = 3
#: Added to the diagonal of the equations for scales, as a share of its mean: groups that are all 0
#: may have any.
_RIDGE = 1e-6
#: Numbers that are held for some rows, of which each needs inputs × groups.
_AT_ONCE = 1 << 24


def refine(
    weight: Tensor,
    rounded: Rounded,
    hessian: Tensor,
    grid: Grid,
    dtype: torch.dtype,
    damping: float,
) -> Rounded:
    """Of no row do outputs change more than by what is given.

    weight: float32 [out, in]. rounded: on the grid. For hessian, dtype and damping see `gptq`.
    """
    damped = hessian.clone()
    damped.diagonal().add_(damping * hessian.diagonal().mean())
    # An input that is always 0: any weight is as good for it.
    damped.diagonal()[damped.diagonal() == 0] = 1
    for _ in range(_TURNS):
        rounded = _descend(weight, _fit_scales(weight, rounded, damped, dtype), damped, grid)
    return rounded


def _fit_scales(weight: Tensor, rounded: Rounded, hessian: Tensor, dtype: torch.dtype) -> Rounded:
    """The scales by which outputs change least, for those rows that they are better for."""
    inputs = weight.shape[1]
    rows = max(1, _AT_ONCE // (inputs * rounded.scales.shape[1]))
    parts = zip(torch.split(_numbers(rounded), rows), torch.split(weight, rows), strict=True)
    found = torch.cat([_least_squares(*part, hessian) for part in parts]).to(dtype)
    # A scale that isn't above 0 is none that the format takes.
    found = torch.where(found > 0, found, rounded.scales)
    changed = Rounded(rounded.steps, found, rounded.zeros)
    better = _losses(weight, changed, hessian) < _losses(weight, rounded, hessian)
    return Rounded(
        rounded.steps, torch.where(better[:, None], found, rounded.scales), rounded.zeros
    )


def _least_squares(numbers: Tensor, weight: Tensor, hessian: Tensor) -> Tensor:
    """Scales, float64 [out, groups]. numbers: [out, groups, in a group]."""
    rows, groups, size = numbers.shape
    curved = torch.einsum("rgi,gij->rgj", numbers, hessian.view(groups, size, -1))
    matrices = torch.einsum("rghi,rhi->rgh", curved.view(rows, groups, groups, size), numbers)
    wanted = torch.einsum("rgj,rj->rg", curved, weight).double()
    matrices = matrices.double()
    diagonals = matrices.diagonal(dim1=1, dim2=2)
    diagonals += _RIDGE * diagonals.mean(1, keepdim=True) + torch.finfo(torch.float64).tiny
    scales: Tensor = torch.linalg.solve(matrices, wanted)
    return scales


def _descend(weight: Tensor, rounded: Rounded, hessian: Tensor, grid: Grid) -> Rounded:
    """Each column in turn gets the numbers that are best beside the others'; those whose inputs are
    the largest come first."""
    size = grid.size(weight.shape[1])
    values = rounded.values()
    slopes = (values - weight) @ hessian
    steps = rounded.steps.float()
    for column in hessian.diagonal().argsort(descending=True, stable=True).tolist():
        own = hessian[column]
        scale, zero = (t[:, column // size] for t in (rounded.scales, rounded.zeros))
        best = values[:, column] - slopes[:, column] / own[column]
        found = to_steps(best, scale, zero, grid).float()
        changed = (found != steps[:, column]).nonzero()[:, 0]
        by = scale[changed].float() * (found - steps[:, column])[changed]
        steps[changed, column] = found[changed]
        values[changed, column] += by
        slopes[changed] += torch.outer(by, own)
    return Rounded(steps.to(grid.dtype), rounded.scales, rounded.zeros)


def _numbers(rounded: Rounded) -> Tensor:
    """Steps without zeros, float32 [out, groups, in a group]."""
    ones = torch.ones_like(rounded.scales)
    return Rounded(rounded.steps, ones, rounded.zeros).values().view(*ones.shape, -1)


def _losses(weight: Tensor, rounded: Rounded, hessian: Tensor) -> Tensor:
    """The squares by which each output changes."""
    off = rounded.values() - weight
    return ((off @ hessian) * off).sum(1)
