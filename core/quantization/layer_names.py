"""Names of the layers that may be quantised."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..contracts.interfaces import LANGUAGE_MODEL, OUTPUT_HEAD, MultiModalModel, OutputHeadModel
from ..layers.known_modules import is_known


@dataclass(frozen=True)
class LayerNames:
    """Linear layers: `inside` the language model, without its output `heads`, which may be made of
    the embeddings after loading, and `outside` of it. others: parts that have weights and are no
    linear layers, by name."""

    inside: tuple[str, ...]
    heads: tuple[str, ...]
    outside: tuple[str, ...]
    others: dict[str, nn.Module]


def layer_names(model: nn.Module) -> LayerNames:
    """Of a model, whether filled or not. Subclasses of linear layers are others, as they may
    compute anything."""
    heads = _heads(model)
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
    return LayerNames(tuple(inside), heads, tuple(outside), others)


def _heads(model: nn.Module) -> tuple[str, ...]:
    parts = [name for name, part in model.named_modules() if isinstance(part, OutputHeadModel)]
    return tuple(f"{name}.{OUTPUT_HEAD}" if name else OUTPUT_HEAD for name in parts)
