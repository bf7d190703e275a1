"""Resizing of a picture's bytes; imports no torch."""

from __future__ import annotations

import logging
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..spec import KernelError
from . import numpy_passes
from .compiled_passes import CompiledPasses
from .weights import AxisWeights, Filter, axis_weights

logger = logging.getLogger(__name__)

_Bytes = NDArray[np.uint8]


class Passes(Protocol):
    """One axis after the other; see `numpy_passes.py`."""

    def horizontal(self, pixels: _Bytes, axis: AxisWeights) -> _Bytes:
        """[height, width, 3] -> [height, len(axis.starts), 3]."""
        ...

    def vertical(self, pixels: _Bytes, axis: AxisWeights) -> _Bytes:
        """[height, width, 3] -> [len(axis.starts), width, 3]."""
        ...


def resize(
    pixels: _Bytes, size: tuple[int, int], filter_name: Filter, passes: Passes | None = None
) -> _Bytes:
    """uint8 [height, width, 3] -> the same at another (height, width).

    The bytes are those of torch's `interpolate(…, antialias=True)`. passes: `load_passes()`, if
    None. Raises ValueError for what is no picture, or a size of none.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        given = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"a picture is uint8 [height, width, 3], not {given}")
    if min(*pixels.shape, *size) < 1:
        raise ValueError(f"a picture of {pixels.shape[:2]} can't be resized to {size}")
    passes = passes or load_passes()
    pixels = np.ascontiguousarray(pixels)
    height, width = size
    if width != pixels.shape[1]:
        pixels = passes.horizontal(pixels, axis_weights(pixels.shape[1], width, filter_name))
    if height != pixels.shape[0]:
        pixels = passes.vertical(pixels, axis_weights(pixels.shape[0], height, filter_name))
    return pixels


@cache
def load_passes() -> Passes:
    """The compiled ones, or numpy's where they can't be compiled, which the log tells of."""
    try:
        return CompiledPasses()
    except KernelError as error:
        logger.warning("pictures are resized by numpy, which takes longer, as %s", error)
        return numpy_passes
