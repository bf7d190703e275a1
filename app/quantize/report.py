"""What a run made of each kind of layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ...core.quantization.rounding.grid import Grid

_HEADINGS = ("layers", "count", "weights", "output error", "alpha")


@dataclass(frozen=True)
class LayerReport:
    """name: in its block. grid: None if it stays plain. error: the share of its outputs' squares
    that differs from the plain layer's; None if no sample was looked at. alpha: see `Scaling`; None
    if its inputs couldn't be scaled, or were not to be."""

    name: str
    grid: Grid | None
    error: float | None
    alpha: float | None = None


@dataclass(frozen=True)
class Report:
    """layers: of each block. bytes_before, bytes_after: of all weights. bits: a weight, of the
    blocks' linear layers with scales and zeros. divergences: before and after tuning, see
    `TuningResult`; None if nothing was tuned."""

    output: Path
    layers: Sequence[Sequence[LayerReport]]
    bytes_before: int
    bytes_after: int
    bits: float
    divergences: tuple[float, float] | None = None

    def rows(self) -> list[tuple[str, ...]]:
        """Of a table, with its headings: a row for each kind of layer."""
        kinds: dict[tuple[str, Grid | None], list[LayerReport]] = defaultdict(list)
        for layers in self.layers:
            for layer in layers:
                kinds[layer.name, layer.grid].append(layer)
        rows: list[tuple[str, ...]] = [_HEADINGS]
        for (name, grid), same in kinds.items():
            errors = [layer.error for layer in same if layer.error is not None]
            shown = f"{fmean(errors):.3%}" if errors else "–"
            alphas = [layer.alpha for layer in same if layer.alpha is not None]
            alpha = f"{fmean(alphas):.2f}" if alphas else "–"
            rows.append((name, str(len(same)), describe(grid), shown, alpha))
        is_scaled = any(row[-1] != "–" for row in rows[1:])
        return rows if is_scaled else [row[:-1] for row in rows]


def describe(grid: Grid | None) -> str:
    """In words."""
    if grid is None:
        return "plain"
    if grid.is_float:
        return "float8 e4m3, a scale for each output"
    share = f"groups of {grid.group_size}" if grid.group_size else "a scale for each output"
    return f"{grid.bits} bits, {share}, {'symmetric' if grid.symmetric else 'with zeros'}"
