"""Blocks that a run has finished, as whoever loads them has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...core.quantization.rounding.grid import Rounded
from ...core.quantization.rounding.packed import from_stored
from .layer_grids import LayerGrids
from .source_model import SourceModel


@dataclass(frozen=True)
class FinishedBlocks:
    """Of a model. names: see `find_stored_names`."""

    source: SourceModel
    names: Sequence[Mapping[str, str]]
    grids: LayerGrids

    def prefix(self, index: int, layer: str) -> str:
        """What the names of a layer's tensors begin with."""
        return self.names[index][f"{layer}.weight"].removesuffix("weight")

    def scales_name(self, index: int, layer: str) -> str:
        """Of the tensor with a layer's scales."""
        return f"{self.prefix(index, layer)}weight_scale"

    def rounded(self, index: int, tensors: Mapping[str, Tensor]) -> dict[str, Rounded]:
        """The weights of a block's layers that lie on grids. tensors: that were made for it."""
        found = {}
        for layer, grid in self.grids[index].items():
            if grid is not None:
                prefix = self.prefix(index, layer)
                own = {
                    k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)
                }
                found[layer] = from_stored(own, grid)
        return found

    def put_in_place(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Have a block, in float32, compute by what was made for it."""
        names = self.names[index]
        for name, parameter in self.source.blocks[index].named_parameters():
            if names.get(name) in tensors:
                parameter.data = tensors[names[name]].float()
        linears = self.source.linears(index)
        for layer, weight in self.rounded(index, tensors).items():
            linears[layer].weight.data = weight.values()
