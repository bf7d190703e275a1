"""The definition of the two passes of resizing, and what runs where there is no compiler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .weights import AxisWeights

_Bytes = NDArray[np.uint8]
#: Outputs that are computed together: few enough that most of their inputs are common to all.
_TOGETHER = 32
#: Bytes of input that are turned into floats at a time.
_CHUNK = 1 << 20


def horizontal(pixels: _Bytes, axis: AxisWeights) -> _Bytes:
    """[height, width, 3] -> [height, len(axis.starts), 3]."""
    return np.ascontiguousarray(vertical(pixels.transpose(1, 0, 2), axis).transpose(1, 0, 2))


def vertical(pixels: _Bytes, axis: AxisWeights) -> _Bytes:
    """[height, width, 3] -> [len(axis.starts), width, 3]."""
    height, width = pixels.shape[:2]
    output = np.empty((len(axis.starts), width, 3), np.uint8)
    step = max(1, _CHUNK // (height * 3))
    for left in range(0, width, step):
        part = pixels[:, left : left + step]
        # Products and sums of these integers are exact in 64 bits.
        columns = part.reshape(height, -1).astype(np.float64)
        for first in range(0, len(output), _TOGETHER):
            start, matrix = _band(axis, slice(first, first + _TOGETHER))
            inputs = columns[start : start + matrix.shape[1]]
            sums = matrix[:, : len(inputs)] @ inputs
            rounded = np.floor(sums / (1 << axis.precision) + 0.5).clip(0, 255)
            block = output[first : first + _TOGETHER, left : left + step]
            block[...] = rounded.reshape(block.shape)
    return output


def _band(axis: AxisWeights, outputs: slice) -> tuple[int, NDArray[np.float64]]:
    """The first input of some outputs, and their weights for the inputs from there on, of which
    those beyond the last are zero."""
    starts, weights = axis.starts[outputs], axis.weights[outputs]
    size, taps = weights.shape
    places = starts[:, None] - starts[0] + np.arange(taps)
    matrix = np.zeros((size, int(places.max()) + 1))
    matrix[np.arange(size)[:, None], places] = weights
    return int(starts[0]), matrix
