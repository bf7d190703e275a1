"""Pixel values on their way to the engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pixels:
    """One image's pixel values: float32, row-major, [channels, height, width].

    Between processes they travel in shared memory, beside the message that names them.
    """

    array: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self.array.shape
