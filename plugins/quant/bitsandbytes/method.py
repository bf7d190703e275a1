"""Eight bits with a scale for each output, and four bits that are levels of a table."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear
from ....core.layers.stored.stored_linear import StoredLinear, check_settings
from ....kernels.ops import QuantizedWeight
from .four_bits import KINDS, dequantised

logger = logging.getLogger(__name__)

_FOLLOWED: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("load_in_8bit", "load_in_4bit"), (False, True)),
    # As older versions of transformers write them besides.
    **dict.fromkeys(("_load_in_8bit", "_load_in_4bit"), (None, False, True)),
    # Weights that would be stored plain.
    "llm_int8_has_fp16_weight": (False,),
    "bnb_4bit_quant_type": ("fp4", *sorted(set(KINDS) - {"fp4"})),
}
_HARMLESS = (
    # How activations are rounded or converted as it runs; here they stay as they are, which is
    # nearer to the model.
    *("llm_int8_threshold", "bnb_4bit_compute_dtype"),
    # Where layers were to lie.
    "llm_int8_enable_fp32_cpu_offload",
    # What the tensors show: a layer that is quantised has more of them than a plain one.
    *("llm_int8_skip_modules", "bnb_4bit_use_double_quant", "bnb_4bit_quant_storage"),
)
#: A weight of 127 is its output's greatest.
_GREATEST = 127
_FORMAT = ".weight_format"


class BitsAndBytesMethod:
    """See `plugin.interfaces.FinishingQuantMethod` and `ReadingQuantMethod`."""

    #: Of layers of eight bits; those of four become plain as they are read.
    marker = "SCB"

    def __init__(self, settings: JsonDict) -> None:
        """Raises ValueError for what isn't followed."""
        check_settings(settings, _FOLLOWED, _HARMLESS)
        eight, four = (_asked(settings, name) for name in ("load_in_8bit", "load_in_4bit"))
        if eight == four:
            raise ValueError("either load_in_8bit or load_in_4bit must be true")
        self._four = four

    def read(
        self, names: Collection[str], weights: Iterable[tuple[str, Tensor]]
    ) -> Iterator[tuple[str, Tensor]]:
        """Weights of four bits dequantised. Raises ValueError for tensors that contradict each
        other, with their name."""
        return _plain(names, weights) if self._four else _without_formats(weights)

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """`weight` [out, in], and `SCB`, the greatest value of each output."""
        if self._four:
            raise ValueError("it has SCB, of 8 bits, but load_in_4bit is true")
        inputs, outputs = layer.in_features, layer.out_features
        return StoredLinear(
            layer,
            {"weight": ((outputs, inputs), torch.int8), "SCB": ((outputs,), torch.float32)},
        )

    def finish(self, name: str, module: nn.Module) -> nn.Module:
        """The same weight."""
        stored = cast(StoredLinear, module)
        scale = stored.get_buffer("SCB").float().view(-1, 1) / _GREATEST
        data = stored.get_buffer("weight")
        return QuantizedLinear(
            QuantizedWeight("int8", data, scale, None, stored.in_features), stored.bias
        )


def _asked(settings: JsonDict, name: str) -> bool:
    """A setting that is stored under two names. Raises ValueError if they differ."""
    value: bool = settings.get(name, False)
    if settings.get(f"_{name}") not in (None, value):
        raise ValueError(f"{name} is {value}, but _{name} is {settings[f'_{name}']}")
    return value


def _without_formats(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """All but the layouts of weights, which must be row by row."""
    for name, tensor in weights:
        if not name.endswith(_FORMAT):
            yield name, tensor
        elif tensor.numel() != 1 or int(tensor) != 0:
            raise ValueError(f"{name} {tensor.tolist()} is not supported, but 0, row by row")


def _plain(
    names: Collection[str], weights: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """Each weight once the last of its tensors is there."""
    missing: dict[str, set[str]] = {}
    for name in names:
        weight = _weight_of(name)
        if weight != name:
            missing.setdefault(weight, {weight}).add(name)
    count, parts = len(missing), dict[str, dict[str, Tensor]]()
    for name, tensor in weights:
        weight = _weight_of(name)
        if weight not in missing:
            yield name, tensor
            continue
        parts.setdefault(weight, {})[name] = tensor
        missing[weight].remove(name)
        if not missing[weight]:
            del missing[weight]
            yield weight, dequantised(weight, parts.pop(weight))
    for lost in missing.values():
        raise ValueError(f"{min(lost)} is missing")
    logger.info(
        "bitsandbytes: %d weights of 4 bits were dequantised, as their levels are not evenly "
        "spaced; they take the memory of a plain model's",
        count,
    )


def _weight_of(name: str) -> str:
    """The weight that a tensor belongs to, as "….weight.absmax" does; itself for others."""
    layer, found, _ = name.partition(".weight.")
    return f"{layer}.weight" if found else name
