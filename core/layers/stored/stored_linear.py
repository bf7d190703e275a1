"""A linear layer's tensors as a checkpoint stores them, and settings of how it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from ...contracts.specs import JsonDict


class StoredLinear(nn.Module):
    """Made by `FinishingQuantMethod.reserve` and read by its `finish`; it computes nothing. Its
    buffers have the names, shapes and dtypes that are given."""

    def __init__(
        self, layer: nn.Linear, tensors: Mapping[str, tuple[Sequence[int], torch.dtype]]
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        for name, (shape, dtype) in tensors.items():
            self.register_buffer(name, torch.empty(shape, dtype=dtype, device="meta"))
        self.bias = layer.bias


def check_settings(
    settings: JsonDict, followed: Mapping[str, Sequence[object]], harmless: Collection[str]
) -> None:
    """Raises ValueError for a setting that isn't known, as what it asks for would not be done, and
    for another value than those that are followed. Capitals make no difference."""
    odd = sorted(set(settings) - {"quant_method", *followed, *harmless})
    if odd:
        raise ValueError(f"its quantization_config has {', '.join(odd)}, which is not supported")
    for name, values in followed.items():
        given = settings.get(name, values[0])
        if (given.lower() if isinstance(given, str) else given) not in values:
            wanted = ", ".join(map(repr, values))
            raise ValueError(f"{name} {given!r} is not supported, but {wanted}")


def check_groups(inputs: int, group_size: int) -> None:
    """Raises ValueError unless a layer's inputs are whole groups."""
    if group_size < 1 or inputs % group_size:
        raise ValueError(f"{inputs} inputs are not whole groups of {group_size}")
