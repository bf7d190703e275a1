"""Integers with scales and zeros of groups, as the reader of GGUF files gives them."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear
from ....core.layers.stored.stored_linear import StoredLinear, check_groups
from ....kernels.int4 import pack_int4
from ....kernels.ops import QuantizedWeight


class GgufMethod:
    """See `plugin.interfaces.FinishingQuantMethod`."""

    reads_tables = True

    def __init__(self, settings: JsonDict) -> None:
        """settings: `layers`, by name the bits, the inputs of a group, and whether there are zeros.
        Raises ValueError without, as in other files than GGUF's."""
        if "layers" not in settings:
            raise ValueError("it reads GGUF files alone")
        self._layers: dict[str, tuple[int, int, bool]] = settings["layers"]

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """`steps` [out, in], and `scale` and `zero` [out, groups]."""
        if name not in self._layers:
            return None
        bits, group_size, has_zero = self._layers[name]
        check_groups(layer.in_features, group_size)
        factors = ((layer.out_features, layer.in_features // group_size), torch.float32)
        steps = torch.uint8 if bits == 4 else torch.int8
        return StoredLinear(
            layer,
            {
                "steps": ((layer.out_features, layer.in_features), steps),
                "scale": factors,
                **({"zero": factors} if has_zero else {}),
            },
        )

    def finish(self, name: str, module: nn.Module) -> nn.Module:
        """The same weight."""
        stored = cast(StoredLinear, module)
        bits, group_size, has_zero = self._layers[name]
        steps, scale = stored.get_buffer("steps"), stored.get_buffer("scale")
        zero = stored.get_buffer("zero") if has_zero else None
        weight = (
            QuantizedWeight("int4", pack_int4(steps, group_size), scale, zero, group_size)
            if bits == 4
            else QuantizedWeight("int8", steps, scale, zero, group_size)
        )
        return QuantizedLinear(weight, stored.bias)
