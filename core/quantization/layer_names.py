"""Names of the layers that may be quantised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..contracts.interfaces import (
    LANGUAGE_MODEL,
    OUTPUT_HEAD,
    MultiModalModel,
    OutputHeadModel,
    StoredTableModel,
)
from ..layers.known_modules import is_known


@dataclass(frozen=True)
class LayerNames:
    """Linear layers: `inside` the language model, without its output `heads`, which may be made of
    the embeddings after loading, and `outside` of it. tables: of embeddings that may be stored
    quantised. others: parts that have weights and are no linear layers, by name, tables too."""

    inside: tuple[str, ...]
    heads: tuple[str, ...]
    outside: tuple[str, ...]
    tables: tuple[str, ...]
    others: dict[str, nn.Module]


def layer_names(model: nn.Module) -> LayerNames:
    """Of a model, whether filled or not. Subclasses of linear layers are others, as they may
    compute anything."""
    heads = _within(model, OutputHeadModel, lambda part: OUTPUT_HEAD)
    tables = _within(model, StoredTableModel, lambda part: part.table_name)
    multimodal = isinstance(model, MultiModalModel)
    inside, outside, others = [], [], {}
    for name, module in model.named_modules():
        parts = name.split(".")
        if name in heads:
            continue
        if not is_known(module, nn.Linear) or parts[-1] == OUTPUT_HEAD:
            if any(True for _ in module.parameters(recurse=False)):
                others[name] = module
        elif multimodal and LANGUAGE_MODEL not in parts:
            outside.append(name)
        else:
            inside.append(name)
    return LayerNames(tuple(inside), heads, tuple(outside), tables, others)


def _within(model: nn.Module, kind: type, name_of: Callable[[Any], str]) -> tuple[str, ...]:
    """Names of something in each part of a kind."""
    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, kind)]
    return tuple(f"{name}.{name_of(part)}".removeprefix(".") for name, part in parts)
