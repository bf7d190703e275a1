"""Asymmetric int4, rounded to nearest, with a scale and a zero for each group of 64 inputs."""

from __future__ import annotations

import logging

from torch import nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear, quantize_groups, quantize_rows

_GROUP_SIZE = 64
_log = logging.getLogger(__name__)


class Int4Method:
    """See `plugin.interfaces.QuantMethod`. The output head takes 8 bits unless it is named, as it
    decides between tokens directly. No StoredQuantMethod: tools store int4 in as many ways as
    there are tools."""

    quantizes_head = "int8"

    def __init__(self, settings: JsonDict) -> None:
        """settings: not read, as there are none."""

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Every layer whose inputs are whole groups; others take 8 bits."""
        bias = None if layer.bias is None else layer.bias.detach()
        if layer.in_features % _GROUP_SIZE:
            _log.info("%s has %d inputs, not whole groups: 8 bits", name, layer.in_features)
            return QuantizedLinear(quantize_rows(layer.weight), bias)
        return QuantizedLinear(quantize_groups(layer.weight, _GROUP_SIZE), bias)
