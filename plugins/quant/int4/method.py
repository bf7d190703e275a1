"""Rounded to the nearest of 16 steps between the least and the greatest of each 64 weights."""

from __future__ import annotations

import logging

from torch import nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear, quantize_groups, quantize_rows

_GROUP_SIZE = 64
_HEAD = "lm_head"
_log = logging.getLogger(__name__)


class Int4Method:
    """See `plugin.interfaces.QuantMethod`. The output head takes 8 bits, as it decides between
    tokens directly. Raises ValueError for a checkpoint that stores weights in 4 bits, as each
    tool does so in its own way."""

    quantizes_head = True

    def __init__(self, settings: JsonDict) -> None:
        if settings:
            raise ValueError("int4 quantises plain checkpoints; this one is quantised already")

    def prepare(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Never asked for."""
        return None

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Every layer whose inputs are whole groups; others take 8 bits."""
        bias = None if layer.bias is None else layer.bias.detach()
        if name.endswith(_HEAD):
            return QuantizedLinear(quantize_rows(layer.weight), bias)
        if layer.in_features % _GROUP_SIZE:
            _log.info("%s has %d inputs, not whole groups: 8 bits", name, layer.in_features)
            return QuantizedLinear(quantize_rows(layer.weight), bias)
        return QuantizedLinear(quantize_groups(layer.weight, _GROUP_SIZE), bias)
