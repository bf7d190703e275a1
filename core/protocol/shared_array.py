"""An array on its way to another process."""

from __future__ import annotations

import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SharedMemory:
    """An anonymous file in memory, by its descriptor, which is closed when nobody has this any
    more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)


class SharedArray:
    """An array, row-major, that travels in shared memory beside the message that names it: pixel
    values, features, or the bytes of a file.

    A plain class, as a serialiser would write out the fields of a dataclass itself.

    memory, offset: where it lies already, so that it is sent without being copied.
    sent_again: whether it is to stay in the memory that it is first sent in, until `let_go`.
    """

    def __init__(
        self,
        array: NDArray[Any],
        memory: SharedMemory | None = None,
        offset: int = 0,
        sent_again: bool = False,
    ) -> None:
        self.array = array
        self.memory = memory
        self.offset = offset
        self.sent_again = sent_again

    @classmethod
    def of_file(cls, data: bytes) -> SharedArray:
        """A file's bytes, which one process reads the header of and another the rest."""
        return cls(np.frombuffer(data, dtype=np.uint8), sent_again=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return self.array.shape

    @property
    def num_bytes(self) -> int:
        """Bytes of memory."""
        return self.array.nbytes

    def let_go(self) -> None:
        """Give the shared memory back; the array stays as it is."""
        self.memory = None
