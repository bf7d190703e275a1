"""Refining of a rounded weight: against least squares, and against trying every number."""

from __future__ import annotations

import pytest
import torch
from octavo.core.quantization.rounding import refine as refining
from octavo.core.quantization.rounding.gptq import gptq
from octavo.core.quantization.rounding.grid import Grid, Rounded, round_to_nearest
from octavo.core.quantization.rounding.refine import refine
from torch import Tensor

OUTPUTS, INPUTS = 12, 128
DAMPING = 0.01
GRIDS = [Grid(4, 64, False), Grid(4, 32), Grid(8)]


def case(seed: int) -> tuple[Tensor, Tensor]:
    """A weight, and inputs that depend on each other, of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(INPUTS, INPUTS, generator=generator)
    inputs = torch.randn(512, INPUTS, generator=generator) @ mixed
    inputs *= torch.rand(INPUTS, generator=generator).exp()
    return torch.randn(OUTPUTS, INPUTS, generator=generator), inputs


def losses(weight: Tensor, rounded: Rounded, inputs: Tensor) -> Tensor:
    """Of each output, in float64."""
    return (inputs.double() @ (rounded.values() - weight).double().T).square().sum(0)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_scales_are_those_of_least_squares(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, inputs = case(0)
    # A few rows at a time.
    monkeypatch.setattr(refining, "_AT_ONCE", 5 * INPUTS * (INPUTS // grid.size(INPUTS)))
    rounded = round_to_nearest(weight, grid, torch.float32)
    found = refining._fit_scales(weight, rounded, inputs.T @ inputs, torch.float32)
    groups = rounded.scales.shape[1]
    numbers = rounded.steps.double().view(OUTPUTS, groups, -1) - rounded.zeros[..., None].double()
    parts = inputs.double().view(len(inputs), groups, -1)
    for row in range(OUTPUTS):
        columns = torch.einsum("tgi,gi->tg", parts, numbers[row])
        wanted = torch.linalg.lstsq(columns, inputs.double() @ weight[row].double()).solution
        torch.testing.assert_close(found.scales[row].double(), wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS[:2], ids=str)
def test_each_number_is_the_best_beside_the_others(grid: Grid) -> None:
    """Of all that a grid has, tried one after the other."""
    weight, inputs = case(1)
    products = (inputs.T @ inputs).double()
    rounded = round_to_nearest(weight, grid, torch.float32)
    found = refining._descend(weight, rounded, products.float(), grid)
    size = grid.size(INPUTS)
    values, steps = rounded.values().double(), rounded.steps.double()
    every = torch.arange(grid.most + 1)
    for column in products.diagonal().argsort(descending=True).tolist():
        group = column // size
        tried = rounded.scales[:, group, None].double() * (
            every - rounded.zeros[:, group, None].int()
        )
        off = (values - weight)[:, None, :].repeat(1, len(every), 1)
        off[:, :, column] = tried - weight[:, column, None]
        best = torch.einsum("rni,ij,rnj->rn", off, products, off).argmin(1)
        steps[:, column], values[:, column] = best.double(), tried[range(OUTPUTS), best]
    assert (found.steps == steps).float().mean() > 0.99
    assert (found.steps != rounded.steps).float().mean() > 0.1


@pytest.mark.parametrize("grid", [*GRIDS, Grid(8, is_float=True)], ids=str)
def test_outputs_change_less(grid: Grid) -> None:
    """Of each row, after GPTQ; and an input that is always 0 does no harm."""
    weight, inputs = case(2)
    inputs[:, 5] = 0
    products = inputs.T @ inputs
    rounded = gptq(weight, products, grid, torch.bfloat16, DAMPING, True)
    refined = refine(weight, rounded, products, grid, torch.bfloat16, DAMPING)
    assert refined.scales.dtype == torch.bfloat16
    assert refined.steps.dtype == grid.dtype
    # What the damping stands for: further inputs, each alone.
    alone = (DAMPING * products.diagonal().mean()).sqrt() * torch.eye(INPUTS)
    before, after = (losses(weight, r, torch.cat([inputs, alone])) for r in (rounded, refined))
    assert (after <= before * 1.0001).all()
    assert after.sum() < 0.96 * before.sum()
