"""Which grids a model's layers may have, and which they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from ...core.quantization.rounding.grid import Grid
from ...core.quantization.rounding.packed import stored_bits
from .recipe import Recipe
from .source_model import SourceModel

#: Of each block, by the layers' names in it; None for those that stay plain.
LayerGrids = Sequence[Mapping[str, Grid | None]]
#: The same, with bits of all tensors that are stored in a layer's place.
GridCosts = Sequence[Mapping[str, Mapping[Grid | None, int]]]


def grid_costs(source: SourceModel, recipe: Recipe) -> GridCosts:
    """For each layer the recipe's grids that fit it, in their order; None alone where none does."""

    def costs(layer: nn.Linear) -> dict[Grid | None, int]:
        shape = layer.out_features, layer.in_features
        plain = layer.weight.numel() * source.dtype.itemsize * 8
        # Engines know a layer of a derived class by another name than "Linear", or not at all.
        fitting = recipe.grids_of(*shape) if type(layer) is nn.Linear else []
        return {g: stored_bits(g, *shape, source.dtype) for g in fitting} or {None: plain}

    return [
        {name: costs(layer) for name, layer in source.linears(index).items()}
        for index in range(len(source.blocks))
    ]


def first_grids(costs: GridCosts) -> LayerGrids:
    """For each layer the first that it may have."""
    return [{name: next(iter(own)) for name, own in block.items()} for block in costs]


def num_weights(source: SourceModel) -> int:
    """Of all linear layers in blocks."""
    layers = (source.linears(index).values() for index in range(len(source.blocks)))
    return sum(layer.weight.numel() for block in layers for layer in block)


def total_bits(costs: GridCosts, grids: LayerGrids) -> int:
    """Of all layers, each on its grid."""
    return sum(
        own[grids[index][name]] for index, block in enumerate(costs) for name, own in block.items()
    )
