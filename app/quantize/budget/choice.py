"""Grids by a budget of bits: those layers get many whose rounding changes answers most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....core.protocol.config import ConfigError
from ....core.quantization.rounding.grid import Grid
from ..layer_grids import GridCosts, LayerGrids, num_weights
from ..samples import Sample
from ..source_model import SourceModel
from .sensitivity import BlockLosses, expected_losses
from .upgrades import Option, choose_options

#: Tokens that layers are measured on. Inputs of all blocks are in memory for each.
_TOKENS = 4096


def check_budget(source: SourceModel, costs: GridCosts, budget: float, name: str) -> None:
    """Raises ConfigError if layers can't have as few bits a weight, or as many. name: of the
    checkpoint."""
    own = [layer.values() for block in costs for layer in block.values()]
    least, most = (sum(map(end, own)) / num_weights(source) for end in (min, max))
    if not least <= budget <= most:
        raise ConfigError(
            f"--bits-budget {budget:g}: the linear layers in the blocks of {name} can have "
            f"{math.ceil(least * 1000) / 1000:g} to {math.floor(most * 1000) / 1000:g} bits a "
            "weight, scales and zeros counted"
        )


def choose_grids(
    source: SourceModel, samples: Sequence[Sample], costs: GridCosts, budget: float
) -> LayerGrids:
    """A grid for each layer, so that all take at most budget bits a weight. Layers that read one
    tensor get one grid, as engines run them as one. costs: see `grid_costs`."""
    tried = [
        {name: [grid for grid in own if grid is not None] for name, own in block.items()}
        for block in costs
    ]
    found = expected_losses(source, _few(samples), tried)
    units = [unit for index, losses in enumerate(found) for unit in _units(index, costs, losses)]
    chosen = choose_options(
        [unit.options for unit in units], math.floor(budget * num_weights(source))
    )
    grids: list[dict[str, Grid | None]] = [{} for _ in costs]
    for unit, index in zip(units, chosen, strict=True):
        grids[unit.block].update(dict.fromkeys(unit.layers, unit.grids[index]))
    return grids


@dataclass(frozen=True)
class _Unit:
    """Layers of a block that get one of several grids together."""

    block: int
    layers: Sequence[str]
    grids: Sequence[Grid | None]
    options: Sequence[Option]


def _units(block: int, costs: GridCosts, losses: BlockLosses) -> list[_Unit]:
    """Of layers that read one tensor, and that the same grids fit."""
    together: dict[tuple[str, tuple[Grid | None, ...]], list[str]] = {}
    for name, own in costs[block].items():
        # A layer that no sample comes to is alone.
        readers = next((names for names in losses.together if name in names), [name])
        together.setdefault((readers[0], tuple(own)), []).append(name)
    return [
        _Unit(block, names, grids, [_option(costs[block], losses, names, g) for g in grids])
        for (_, grids), names in together.items()
    ]


def _option(
    costs: Mapping[str, Mapping[Grid | None, int]],
    losses: BlockLosses,
    names: Sequence[str],
    grid: Grid | None,
) -> Option:
    cost = sum(costs[name][grid] for name in names)
    return Option(cost, sum(losses.of[name][grid] for name in names) if grid else 0.0)


def _few(samples: Sequence[Sample]) -> list[Sample]:
    """Some of them, evenly spread."""
    total = sum(sample["input_ids"].shape[1] for sample in samples)
    count = min(len(samples), max(1, _TOKENS * len(samples) // total))
    return [samples[i * len(samples) // count] for i in range(count)]
