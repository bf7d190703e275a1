"""What the weights of a checkpoint take in memory."""

from __future__ import annotations

from collections.abc import Mapping

from ....core.contracts.specs import JsonDict, StoredTensor

_WEIGHT = ".weight"


def held_bytes(
    settings: JsonDict, tensors: Mapping[str, StoredTensor], float_bytes: int
) -> dict[str, int]:
    """See QuantSpec. Weights of four bits, two in a byte, become plain, and what belongs to them is
    let go."""
    held = {}
    for name in tensors:
        layer, within, _ = name.partition(f"{_WEIGHT}.")
        weight = f"{layer}{_WEIGHT}"
        if within and weight in tensors:
            held[name], held[weight] = 0, 2 * tensors[weight].nbytes * float_bytes
    return held
