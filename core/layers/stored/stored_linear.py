"""A linear layer's tensors as a checkpoint stores them, and settings of how it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from ...contracts.specs import JsonDict


class StoredLinear(nn.Module):
    """Made by `StoredQuantMethod.reserve` and read by its `finish`; it computes nothing. Its
    buffers have the names, shapes and dtypes that are given."""

    def __init__(
        self, layer: nn.Linear, tensors: Mapping[str, tuple[Sequence[int], torch.dtype]]
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        for name, (shape, dtype) in tensors.items():
            self.register_buffer(name, torch.empty(shape, dtype=dtype, device="meta"))
        self.bias = layer.bias


def check_settings(settings: JsonDict, known: Collection[str]) -> None:
    """Raises ValueError for one that isn't known: what it asks for would not be done."""
    odd = sorted(set(settings) - set(known) - {"quant_method"})
    if odd:
        raise ValueError(f"quantization_config has {', '.join(odd)}, which is not supported")


def check_groups(inputs: int, group_size: int) -> None:
    """Raises ValueError unless a layer's inputs are whole groups."""
    if group_size < 1 or inputs % group_size:
        raise ValueError(f"{inputs} inputs are not whole groups of {group_size}")
