"""The output of an image encoder, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..protocol.messages import FeatureInput
from ..protocol.shared_array import SharedArray

#: How the elements of each dtype lie in memory; numpy has no bfloat16, so its bits stand for it.
STORED_AS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype("<u2"),
    "float16": np.dtype("<f2"),
}


@dataclass(frozen=True)
class Features:
    """Feature vectors of one image. Raises ValueError if dtype and array don't fit each other.

    dtype: "float32", "bfloat16" or "float16".
    array: [num_features, hidden_size], neither of them 0; bfloat16 is held as uint16. It may be
        read-only.
    """

    dtype: str
    array: NDArray[Any]

    def __post_init__(self) -> None:
        if self.dtype not in STORED_AS:
            raise ValueError(f"dtype must be one of {', '.join(STORED_AS)}, got {self.dtype!r}")
        if self.array.dtype != STORED_AS[self.dtype]:
            raise ValueError(
                f"features in {self.dtype} must be held as {STORED_AS[self.dtype].name}, "
                f"got {self.array.dtype}"
            )
        if self.array.ndim != 2 or self.array.size == 0:
            raise ValueError(
                f"features must be [num_features, hidden_size], got {list(self.array.shape)}"
            )

    def to_payload(self, source: str) -> FeatureInput:
        """As the engine takes them. source: see FeatureInput."""
        return FeatureInput(self.dtype, SharedArray(self.array), source)

    def is_finite(self) -> bool:
        """Whether there is no infinity, and nothing that is no number."""
        if self.dtype == "bfloat16":
            # All ones in the exponent stand for both.
            return bool(((self.array & 0x7F80) != 0x7F80).all())
        return bool(np.isfinite(self.array).all())

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.array.nbytes
