"""AWQ's factors for a block's layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ....core.quantization.rounding.awq import search_scaling
from ....core.quantization.rounding.grid import Grid
from ..forward_passes import Call
from .folds import Fold, find_folds


@dataclass(frozen=True)
class ScaledBlock:
    """products: of the layers' inputs as they are now. alphas: see `Scaling`, of those layers that
    could be scaled. changed: names of parameters, besides the layers' weights."""

    products: dict[str, Tensor]
    alphas: dict[str, float]
    changed: list[str]


def scale_block(
    block: nn.Module,
    linears: Mapping[str, nn.Linear],
    grids: Mapping[str, Grid | None],
    products: Mapping[str, Tensor],
    known: Collection[str],
    head_dim: int,
    call: Call,
    dtype: torch.dtype,
) -> ScaledBlock:
    """Scale inputs of layers, which are not rounded yet, in place. The block, in float32, computes
    what it did. products: see `gather_products`. known: parameters that can be stored. dtype: of
    those, and of scales."""
    scaled = ScaledBlock(dict(products), {}, [])
    for fold in find_folds(block, linears, head_dim, call):
        rounded = {name: grid for name in fold.readers if (grid := grids[name]) is not None}
        if len(rounded) == len(fold.readers) and _is_stored(fold, block, grids, known):
            products_now = scaled.products[fold.readers[0]]
            weights = [linears[name].weight.data for name in rounded]
            found = search_scaling(weights, products_now, [*rounded.values()], dtype, fold.rows)
            scaled.alphas.update(dict.fromkeys(rounded, found.alpha))
            if found.alpha:
                used = fold.apply(block, found.factors, dtype)
                divided = products_now / torch.outer(used, used)
                scaled.products.update(dict.fromkeys(rounded, divided))
                scaled.changed.extend(_changed(fold, block, grids))
    return scaled


def _changed(fold: Fold, block: nn.Module, grids: Mapping[str, Grid | None]) -> list[str]:
    """What is stored as it is; not a weight that will be rounded."""
    made = block.get_submodule(fold.producer)
    parts = [name for name, _ in made.named_parameters(recurse=False)]
    return [f"{fold.producer}.{p}" for p in parts if fold.producer not in grids or p != "weight"]


def _is_stored(
    fold: Fold, block: nn.Module, grids: Mapping[str, Grid | None], known: Collection[str]
) -> bool:
    """Whether what changes before the layers can be: a layer there must be rounded too, from what
    its weight is in float32."""
    is_rounded = fold.producer not in grids or grids[fold.producer] is not None
    return is_rounded and all(name in known for name in _changed(fold, block, grids))
