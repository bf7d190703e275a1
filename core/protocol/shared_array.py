"""An array on its way to another process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class SharedArray:
    """An array, row-major, that travels in shared memory beside the message that names it: pixel
    values, features, or the bytes of a file.

    A plain class, as a serialiser would write out the fields of a dataclass itself.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    @classmethod
    def of_bytes(cls, data: bytes) -> SharedArray:
        """A file's bytes."""
        return cls(np.frombuffer(data, dtype=np.uint8))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return self.array.shape

    @property
    def num_bytes(self) -> int:
        """Bytes of memory."""
        return self.array.nbytes
