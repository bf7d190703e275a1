"""Symmetric int8, rounded to nearest, with one scale for each output."""

from __future__ import annotations

from torch import nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear, quantize_rows


class Int8Method:
    """See `plugin.interfaces.QuantMethod`. No StoredQuantMethod: tools store int8 in as many
    ways as there are tools."""

    quantizes_head = True

    def __init__(self, settings: JsonDict) -> None:
        """settings: not read, as there are none."""

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Every layer."""
        bias = None if layer.bias is None else layer.bias.detach()
        return QuantizedLinear(quantize_rows(layer.weight), bias)
