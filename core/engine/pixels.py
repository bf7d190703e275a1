"""Pixel values on their way to the engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Pixels:
    """One image's pixel values: float32, row-major, of the shape that its encoder takes.

    Between processes they travel in shared memory, beside the message that names them; a plain
    class, as a serialiser would write out the fields of a dataclass itself.
    """

    def __init__(self, array: NDArray[np.float32]) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return self.array.shape
