"""Symmetric, rounded to the nearest of 255 steps, one scale for each output."""

from __future__ import annotations

from torch import nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear, quantize_rows


class Int8Method:
    """See `plugin.interfaces.QuantMethod`. Raises ValueError for a checkpoint that stores weights
    in 8 bits, as each tool does so in its own way."""

    quantizes_head = True

    def __init__(self, settings: JsonDict) -> None:
        if settings:
            raise ValueError("int8 quantises plain checkpoints; this one is quantised already")

    def prepare(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Never asked for."""
        return None

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Every layer."""
        bias = None if layer.bias is None else layer.bias.detach()
        return QuantizedLinear(quantize_rows(layer.weight), bias)
