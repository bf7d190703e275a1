"""What the layers of a quantised model are stored as."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from torch import nn

from ...kernels.dtypes import dtype_name
from ...kernels.weights import LinearWeight
from ..layers.quantized_linear import linear_weight
from ..layers.stored.quantized_embedding import QuantizedEmbedding
from ..protocol.runtime_facts import WeightGroup
from .layer_names import LayerNames

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)")
_MB = 1e6


def weight_groups(model: nn.Module, names: LayerNames) -> list[WeightGroup]:
    """Of the layers that could be quantised, and of embeddings, in the model's order."""
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for name, layer in _layers(model, names):
        key = _NUMBER.sub("*", name), _format_of(layer)
        counts[key] += 1
        sizes[key] += sum(w.nbytes for w in (*layer.parameters(), *layer.buffers()))
    return [WeightGroup(*key, count, sizes[key]) for key, count in counts.items()]


def describe_group(group: WeightGroup) -> str:
    """For a log."""
    return f"{group.layers}: {group.count} × {group.format}, {group.bytes / _MB:.1f} MB"


def table_rows(groups: list[WeightGroup]) -> list[tuple[str, ...]]:
    """Of a table for people."""
    rows = [(g.layers, g.format, str(g.count), f"{g.bytes / _MB:.1f}") for g in groups]
    return [("layers", "weights", "count", "MB"), *rows]


def _layers(model: nn.Module, names: LayerNames) -> Iterator[tuple[str, nn.Module]]:
    modules = dict(model.named_modules())
    tables = [n for n, part in names.others.items() if isinstance(part, nn.Embedding)]
    for name in (*tables, *names.inside, *names.heads, *names.outside):
        # A head that is the embeddings' table has no layer unless it was quantised.
        if name in modules:
            yield name, modules[name]


def _format_of(layer: nn.Module) -> str:
    """As it is stored, or its class if that isn't known."""
    known = [weight for part in layer.modules() if (weight := linear_weight(part)) is not None]
    if isinstance(layer, QuantizedEmbedding):
        known = [LinearWeight(layer.weight)]
    if known:
        storage = known[0].storage
        whole = storage.group_size == storage.in_features and not storage.has_zero
        return storage.format if whole else str(storage)
    if isinstance(layer, nn.Embedding):
        return dtype_name(layer.weight.dtype)
    return type(layer).__name__
