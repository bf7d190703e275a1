"""Numbers of few bits, and the scales and zeros that make weights of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: The largest number of float8 e4m3.
_FLOAT8_MAX = 448.0
#: Shares of the range that are tried at either end.
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
#: Weights whose error is computed at once in a search of scales.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Grid:
    """Where weights may lie.

    bits: of a number. group_size: inputs that share a scale; 0 for all. symmetric: without zeros.
    is_float: float8 e4m3 in place of integers.
    """

    bits: int
    group_size: int = 0
    symmetric: bool = True
    is_float: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Of steps as they are kept."""
        return torch.float8_e4m3fn if self.is_float else torch.uint8

    @property
    def most(self) -> int:
        """The largest step."""
        return (1 << self.bits) - 1

    @property
    def middle(self) -> int:
        """The step that stands for 0 where there are no zeros."""
        return 1 << (self.bits - 1)

    def size(self, inputs: int) -> int:
        """Inputs of a group."""
        return self.group_size or inputs


@dataclass(frozen=True)
class Rounded:
    """A weight [out, in] in few bits, scale · (step - zero).

    steps: [out, in], uint8, or float8, whose zeros are 0. scales: [out, groups], in the dtype that
    they are stored in. zeros: [out, groups], uint8.
    """

    steps: Tensor
    scales: Tensor
    zeros: Tensor

    def values(self) -> Tensor:
        """float32 [out, in]."""
        size = self.steps.shape[1] // self.scales.shape[1]
        steps = self.steps.float().view(len(self.steps), -1, size)
        values: Tensor = self.scales.float()[..., None] * (steps - self.zeros.float()[..., None])
        return values.flatten(1)


def fit_scales(
    weight: Tensor, grid: Grid, dtype: torch.dtype, importance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scales in dtype and zeros, [out, groups], for float32 [out, in].

    The range of each group, or, with importance, [in], of the squares of errors, the part of that
    range which gives the least: clipping a few weights makes steps finer for all others.
    """
    groups = weight.reshape(len(weight), -1, grid.size(weight.shape[1]))
    high, low = groups.amax(-1).clamp(min=0), groups.amin(-1).clamp(max=0)
    if importance is None or grid.is_float:
        return _scales(low, high, grid, dtype)
    wanted = importance.reshape(-1, groups.shape[-1])
    rows = max(1, _AT_ONCE // weight.shape[1])
    parts = zip(*(torch.split(t, rows) for t in (groups, low, high)), strict=True)
    found = [_search(part, lows, highs, wanted, grid, dtype) for part, lows, highs in parts]
    scales, zeros = zip(*found, strict=True)
    return torch.cat(scales), torch.cat(zeros)


def to_steps(weight: Tensor, scales: Tensor, zeros: Tensor, grid: Grid) -> Tensor:
    """The nearest steps, in float32 but float8's; weight, scales and zeros broadcast."""
    scaled = weight / scales.float()
    if grid.is_float:
        return scaled.clamp(-_FLOAT8_MAX, _FLOAT8_MAX).to(grid.dtype)
    return (scaled + zeros.float()).round_().clamp_(0, grid.most)


def round_to_nearest(
    weight: Tensor, grid: Grid, dtype: torch.dtype, importance: Tensor | None = None
) -> Rounded:
    """weight: float32 [out, in]. See `fit_scales` for the rest."""
    scales, zeros = fit_scales(weight, grid, dtype, importance)
    groups = weight.reshape(len(weight), -1, grid.size(weight.shape[1]))
    steps = to_steps(groups, scales[..., None], zeros[..., None], grid).flatten(1)
    return Rounded(steps.to(grid.dtype), scales, zeros)


def _scales(low: Tensor, high: Tensor, grid: Grid, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    smallest = torch.finfo(dtype).tiny
    if grid.symmetric:
        half = _FLOAT8_MAX if grid.is_float else grid.most / 2
        scales = (torch.maximum(high, -low) / half).to(dtype).clamp(min=smallest)
        return scales, torch.full_like(low, 0 if grid.is_float else grid.middle, dtype=torch.uint8)
    scales = ((high - low) / grid.most).to(dtype).clamp(min=smallest)
    zeros = (-low / scales.float()).round_().clamp_(0, grid.most)
    return scales, zeros.to(torch.uint8)


def _search(
    groups: Tensor, low: Tensor, high: Tensor, importance: Tensor, grid: Grid, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """groups: [rows, groups, size]; importance: [groups, size]."""
    scales, zeros = _scales(low, high, grid, dtype)
    least = torch.full_like(low, torch.inf)
    # Without zeros both ends are one.
    shares = [(a, b) for a in _SHARES for b in _SHARES if a == b or not grid.symmetric]
    for below, above in shares:
        some, some_zeros = _scales(low * below, high * above, grid, dtype)
        wide, middle = some[..., None], some_zeros[..., None]
        steps = to_steps(groups, wide, middle, grid)
        off = wide.float() * (steps - middle.float()) - groups
        error = (off.square_() * importance).sum(-1)
        better = error < least
        least = torch.where(better, error, least)
        scales = torch.where(better, some, scales)
        zeros = torch.where(better, some_zeros, zeros)
    return scales, zeros
