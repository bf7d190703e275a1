"""What the weights of a file take in memory."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ....core.contracts.specs import JsonDict, StoredTensor

#: Of a group's scale and zero, where the kernels have packed them.
_FACTORS = 4


def held_bytes(
    settings: JsonDict, tensors: Mapping[str, StoredTensor], float_bytes: int
) -> dict[str, int]:
    """See QuantSpec. Weights of five and six bits take eight."""
    held = {}
    for layer, (bits, group_size, _) in settings.get("layers", {}).items():
        count = prod(tensors[f"{layer}.weight"].shape)
        held[f"{layer}.weight"] = count * bits // 8 + count // group_size * _FACTORS
    return held
