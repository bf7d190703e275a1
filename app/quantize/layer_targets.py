"""Patterns for the quantization_config: which layers are stored in which way, under whatever names
an engine has for the parts around the blocks."""

from __future__ import annotations

import re

from ...core.quantization.rounding.grid import Grid
from .layer_grids import LayerGrids
from .source_model import SourceModel

#: In every engine that reads the format, the class of all linear layers.
_ALL = "Linear"


def layer_targets(source: SourceModel, grids: LayerGrids) -> dict[Grid, list[str]]:
    """The grid that most have is all layers'; others' are named."""
    counts: dict[Grid, int] = {}
    for block in grids:
        for grid in block.values():
            if grid is not None:
                counts[grid] = counts.get(grid, 0) + 1
    main = max(counts, key=lambda grid: counts[grid])
    others = {g: _patterns(source, grids, g) for g in counts if g != main}
    return {**others, main: [_ALL]}


def plain_patterns(source: SourceModel, grids: LayerGrids) -> list[str]:
    """Layers that stay plain, within blocks and without."""
    parts = [part.rpartition(".")[2] for part in source.plain_parts()]
    around = [rf"re:(.*\.)?{re.escape(part)}(\..*)?$" for part in parts]
    return [*around, *_patterns(source, grids, None)]


def _patterns(source: SourceModel, grids: LayerGrids, grid: Grid | None) -> list[str]:
    leaf = re.escape(source.blocks_name.rpartition(".")[2])
    having: dict[str, list[int]] = {}
    for index, block in enumerate(grids):
        for name, own in block.items():
            if own == grid:
                having.setdefault(name, []).append(index)
    patterns = []
    for name, indices in having.items():
        everywhere = len(indices) == sum(name in block for block in grids)
        number = r"\d+" if everywhere else f"({'|'.join(map(str, indices))})"
        patterns.append(rf"re:(.*\.)?{leaf}\.{number}\.{re.escape(name)}$")
    return patterns
