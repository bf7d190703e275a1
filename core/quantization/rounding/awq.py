"""AWQ: inputs that are large get finer weights, as all inputs' weights are scaled before they are
rounded, and what makes the inputs is scaled the other way.

Lin, Tang, Tang, Yang, Chen, Wang, Xiao, Dang, Gan and Han, "AWQ: Activation-aware Weight
Quantization for LLM Compression and Acceleration", 2023 (https://arxiv.org/abs/2306.00978).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .grid import Grid, round_to_nearest

#: Exponents that are tried.
_ALPHAS = tuple(i / 20 for i in range(20))
#: The smallest size of an input, as a share of the largest's.
_SMALLEST = 1e-4


@dataclass(frozen=True)
class Scaling:
    """factors: of the columns of weights, [in]. alpha: the exponent that they were found by; with 0
    all are 1."""

    factors: Tensor
    alpha: float


def search_scaling(
    weights: Sequence[Tensor],
    products: Tensor,
    grids: Sequence[Grid],
    dtype: torch.dtype,
    rows: Tensor,
) -> Scaling:
    """Of layers that read one input: the factors, sizes of inputs to the power of an exponent, by
    which their outputs change least where weights are rounded to the nearest.

    weights: float32 [out, in] each. products: [in, in], the sum of the inputs' outer products.
    dtype: of scales. rows: [in], the output of what comes before that each input is; inputs that
    are the same have the same factor.
    """
    squares = torch.zeros(int(rows.max()) + 1, device=rows.device)
    squares.scatter_reduce_(0, rows, products.diagonal(), "mean", include_self=False)
    sizes = squares[rows].sqrt()
    sizes = sizes.clamp(min=float(sizes.max()) * _SMALLEST)
    found, least = Scaling(torch.ones_like(sizes), 0.0), torch.inf
    for alpha in _ALPHAS:
        factors = sizes**alpha
        # Around 1, so that neither side leaves the range of its number format.
        factors = factors / (factors.max() * factors.min()).sqrt()
        error = sum(
            _error(weight, factors, products, grid, dtype)
            for weight, grid in zip(weights, grids, strict=True)
        )
        if error < least:
            found, least = Scaling(factors, alpha), error
    return found


def _error(
    weight: Tensor, factors: Tensor, products: Tensor, grid: Grid, dtype: torch.dtype
) -> float:
    """The squares by which outputs change, over all tokens."""
    off = round_to_nearest(weight * factors, grid, dtype).values() / factors - weight
    return float(((off @ products) * off).sum())
