"""What the weights of a checkpoint take in memory."""

from __future__ import annotations

from collections.abc import Mapping

from ....core.contracts.specs import JsonDict, StoredTensor

_WEIGHT = ".qweight"


def held_bytes(
    settings: JsonDict, tensors: Mapping[str, StoredTensor], float_bytes: int
) -> dict[str, int]:
    """See QuantSpec. Weights of two bits take four."""
    if settings.get("bits") != 2:
        return {}
    return {name: 2 * t.nbytes for name, t in tensors.items() if name.endswith(_WEIGHT)}
