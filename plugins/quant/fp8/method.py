"""float8_e4m3fn with `weight_scale_inv`, a factor for each block of a weight."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear
from ....core.layers.stored.float8_weight import float8_weight
from ....core.layers.stored.stored_linear import StoredLinear, check_settings

#: Values of settings that are followed, the default first. Activations stay as they are, which is
#: nearer to the model than rounding them as it runs.
_FOLLOWED: dict[str, tuple[object, ...]] = {
    "activation_scheme": ("dynamic",),
    "fmt": ("e4m3",),
    "scale_fmt": (None, "float", "ue8m0"),
    "dequantize": (False,),
}
_HARMLESS = ("weight_block_size", "modules_to_not_convert")


class Fp8Method:
    """See `plugin.interfaces.FinishingQuantMethod`."""

    def __init__(self, settings: JsonDict) -> None:
        """Raises ValueError for what isn't followed."""
        check_settings(settings, _FOLLOWED, _HARMLESS)
        block = settings.get("weight_block_size")
        if not isinstance(block, list) or len(block) != 2:
            raise ValueError(f"weight_block_size {block!r} is not supported, but [rows, columns]")
        self._rows, self._columns = block
        self._skipped = tuple(settings.get("modules_to_not_convert") or ())

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """`weight` [out, in], and `weight_scale_inv` of each block."""
        if any(part in name for part in self._skipped):
            return None
        inputs, outputs = layer.in_features, layer.out_features
        if inputs % self._columns:
            raise ValueError(f"{inputs} inputs are not whole blocks of {self._columns}")
        blocks = (-(-outputs // self._rows), inputs // self._columns)
        return StoredLinear(
            layer,
            {
                "weight": ((outputs, inputs), torch.float8_e4m3fn),
                "weight_scale_inv": (blocks, torch.float32),
            },
        )

    def finish(self, name: str, module: nn.Module) -> nn.Module:
        """The same weight as groups of inputs."""
        stored = cast(StoredLinear, module)
        data, scales = (stored.get_buffer(part) for part in ("weight", "weight_scale_inv"))
        return QuantizedLinear(float8_weight(data, scales, self._rows), stored.bias)
