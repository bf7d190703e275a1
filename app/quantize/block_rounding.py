"""A block's linear layers in few bits, found from what its samples show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.protocol.config import ConfigError
from ...core.quantization.rounding.gptq import gptq
from ...core.quantization.rounding.grid import Grid, Rounded, round_to_nearest
from ...core.quantization.rounding.refine import refine
from .recipe import Recipe


@dataclass(frozen=True)
class RoundedLayer:
    """error: the share of its outputs' squares that differs from the plain layer's; None if no
    sample was looked at."""

    weight: Rounded
    grid: Grid
    error: float | None


def round_layers(
    linears: Mapping[str, nn.Linear],
    grids: Mapping[str, Grid | None],
    products: Mapping[str, Tensor],
    recipe: Recipe,
    dtype: torch.dtype,
) -> dict[str, RoundedLayer]:
    """Of the layers that don't stay plain. products: see `gather_products`. dtype: of scales."""
    found = {}
    for name, layer in linears.items():
        grid = grids[name]
        if grid is not None:
            if name in products and not products[name].isfinite().all():
                raise ConfigError(f"the inputs of {name} are no finite numbers on these samples")
            found[name] = _round_layer(layer.weight, products.get(name), grid, recipe, dtype)
    return found


def _round_layer(
    weight: Tensor, products: Tensor | None, grid: Grid, recipe: Recipe, dtype: torch.dtype
) -> RoundedLayer:
    if products is None or recipe.solver == "rtn":
        return RoundedLayer(round_to_nearest(weight, grid, dtype), grid, None)
    if recipe.solver == "clip":
        rounded = round_to_nearest(weight, grid, dtype, products.diagonal())
    else:
        rounded = gptq(weight, products, grid, dtype, recipe.damping, recipe.ordered)
    if recipe.refines:
        rounded = refine(weight, rounded, products, grid, dtype, recipe.damping)
    return RoundedLayer(rounded, grid, _output_error(rounded.values() - weight, weight, products))


def _output_error(off: Tensor, weight: Tensor, products: Tensor) -> float:
    return float(((off @ products) * off).sum() / ((weight @ products) * weight).sum())
