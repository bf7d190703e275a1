"""Numbers of few bits for a weight: against the papers' definitions, and the library's layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from octavo.core.quantization.rounding.gptq import gptq
from octavo.core.quantization.rounding.grid import Grid, Rounded, fit_scales, round_to_nearest
from octavo.core.quantization.rounding.packed import from_stored, stored_tensors
from torch import Tensor

packing = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")

OUTPUTS, INPUTS = 24, 256
DAMPING = 0.01
FLOAT8 = Grid(8, is_float=True)


def case(seed: int) -> tuple[Tensor, Tensor]:
    """A weight and the products of inputs that depend on each other, of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(INPUTS, INPUTS, generator=generator)
    inputs = torch.randn(1024, INPUTS, generator=generator) @ mixed
    inputs *= torch.rand(INPUTS, generator=generator).exp()
    return torch.randn(OUTPUTS, INPUTS, generator=generator), inputs.T @ inputs


def error(weight: Tensor, rounded: Rounded, products: Tensor) -> float:
    off = (rounded.values() - weight).double()
    return float(((off @ products.double()) * off).sum())


def nearest_steps(scaled: Tensor, zero: Tensor, grid: Grid) -> Tensor:
    """Of all numbers that the grid has, in float64."""
    every = torch.arange(256, dtype=torch.uint8)
    if grid.is_float:
        numbers = every.view(torch.float8_e4m3fn).double()
        numbers = numbers[numbers.isfinite()]
    else:
        numbers = every[: grid.most + 1].double()
    return numbers[(scaled[:, None] + zero[:, None] - numbers).abs().argmin(-1)]


def naive_gptq(weight: Tensor, products: Tensor, grid: Grid, ordered: bool) -> Tensor:
    """Steps by the paper's equations 2 and 3, a column at a time with the whole inverse, which
    loses the column's row after it."""
    importance, left = products.diagonal(), weight.double().clone()
    damped = products.double() + DAMPING * importance.double().mean() * torch.eye(INPUTS)
    inverse, steps = torch.linalg.inv(damped), torch.zeros_like(left)
    order = list(range(INPUTS))
    if ordered:
        order = importance.argsort(descending=True).tolist()
    whole, one = torch.float32, replace(grid, group_size=0)
    scales, zeros = fit_scales(weight, grid, whole, importance)
    for column in order:
        group = column // grid.size(INPUTS)
        if not ordered and column % grid.size(INPUTS) == 0:
            span = slice(column, column + grid.size(INPUTS))
            found = fit_scales(left[:, span].float(), one, whole, importance[span])
            scales[:, group], zeros[:, group] = found[0][:, 0], found[1][:, 0]
        scale, zero = scales[:, group].double(), zeros[:, group].double()
        steps[:, column] = nearest_steps(left[:, column] / scale, zero, grid)
        off = (left[:, column] - scale * (steps[:, column] - zero)) / inverse[column, column]
        left -= torch.outer(off, inverse[column])
        row = inverse[column].clone()
        inverse -= torch.outer(row, row) / row[column]
    return steps.to(grid.dtype)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "grid", [Grid(4, 64, False), Grid(4, 32), Grid(8, 128, False), FLOAT8], ids=str
)
def test_gptq_is_the_papers(grid: Grid, ordered: bool) -> None:
    weight, products = case(0)
    found = gptq(weight, products, grid, torch.float32, DAMPING, ordered)
    same = found.steps.float() == naive_gptq(weight, products, grid, ordered).float()
    # A weight in the middle between two steps may go either way in float32, and those after it
    # with it.
    assert same.float().mean() > 0.999


def test_a_group_may_reach_over_columns_that_are_computed_at_once() -> None:
    weight, products = case(1)
    grid = Grid(4, 256, False)
    found = gptq(weight, products, grid, torch.float32, DAMPING, False)
    assert (found.steps == naive_gptq(weight, products, grid, False)).float().mean() > 0.999


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("grid", [Grid(4, 64, False), Grid(4, 32), Grid(8), FLOAT8], ids=str)
def test_gptq_loses_much_less_than_rounding(grid: Grid, ordered: bool) -> None:
    weight, products = case(2)
    nearest = round_to_nearest(weight, grid, torch.bfloat16)
    found = gptq(weight, products, grid, torch.bfloat16, DAMPING, ordered)
    assert error(weight, found, products) < 0.5 * error(weight, nearest, products)


def test_inputs_that_are_always_zero() -> None:
    weight, products = case(3)
    products[5] = products[:, 5] = 0
    found = gptq(weight, products, Grid(4, 64, False), torch.float32, DAMPING, True)
    assert found.values().isfinite().all()


def test_rounding_is_to_the_nearest_step() -> None:
    weight, _ = case(4)
    grid = Grid(4, 64, False)
    rounded = round_to_nearest(weight, grid, torch.float32)
    scales = rounded.scales.repeat_interleave(64, 1)
    assert ((rounded.values() - weight).abs() <= scales * 0.5001 + 1e-6).float().mean() > 0.97
    everywhere = torch.arange(16) - rounded.zeros[..., None].float()
    steps = (rounded.scales[..., None] * everywhere).repeat_interleave(64, 1)
    nearest = (steps - weight[..., None]).abs().amin(-1)
    torch.testing.assert_close((rounded.values() - weight).abs(), nearest, atol=1e-6, rtol=1e-5)


def test_a_searched_range_loses_less_where_it_matters() -> None:
    weight, products = case(5)
    importance, grid = products.diagonal(), Grid(4, 64)
    losses = []
    for searched in (None, importance):
        rounded = round_to_nearest(weight, grid, torch.float32, searched)
        losses.append(float(((rounded.values() - weight).square() * importance).sum()))
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_tensors_are_those_of_the_library(bits: int, symmetric: bool) -> None:
    weight, _ = case(6)
    grid = Grid(bits, 32, symmetric)
    rounded = round_to_nearest(weight, grid, torch.bfloat16)
    stored = stored_tensors(rounded, grid)
    signed = (rounded.steps.int() - grid.middle).to(torch.int8)
    assert torch.equal(stored["weight_packed"], packing.pack_to_int32(signed, bits))
    if not symmetric:
        zeros = (rounded.zeros.int() - grid.middle).to(torch.int8)
        wanted = packing.pack_to_int32(zeros, bits, packed_dim=0)
        assert torch.equal(stored["weight_zero_point"], wanted)
    assert torch.equal(from_stored(stored, grid).values(), rounded.values())
