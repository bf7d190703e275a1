"""Fewer, wider features: each square of neighbours becomes one."""

from math import isqrt

from torch import Tensor


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """Features of a square grid, row by row: [n, side², width] -> [n, side² / factor²,
    width * factor²] (space to depth; Shi et al., 2016, arXiv:1609.05158, backwards)."""
    side = isqrt(x.shape[1])
    squares = x.view(len(x), side // factor, factor, side // factor, factor, -1)
    return squares.transpose(2, 3).reshape(len(x), (side // factor) ** 2, -1)
