"""Weights of antialiased resizing along one axis.

They are those of torch's kernel for bytes (ATen, `native/cpu/UpSampleKernel.cpp`,
`_compute_index_ranges_int16_weights`), which are Pillow's rounded to 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Filter = Literal["bilinear", "bicubic", "lanczos"]
_Floats = NDArray[np.float64]

_MOST_PRECISION = 22
_KEPT_AXES = 64


@dataclass(frozen=True)
class AxisWeights:
    """Output i is the sum of weights[i, j] * input[starts[i] + j], divided by 2 ** precision, to
    the nearest, halves up. starts: int32 [size]; weights: int16 [size, taps], zero for inputs that
    would lie beyond the last."""

    starts: NDArray[np.int32]
    weights: NDArray[np.int16]
    precision: int


@lru_cache(_KEPT_AXES)
def axis_weights(input_size: int, output_size: int, filter_name: Filter) -> AxisWeights:
    """The weights from one length to another."""
    half_width, kernel = _FILTERS[filter_name]
    scale = input_size / output_size
    stretch = max(scale, 1.0)
    support = half_width * stretch
    centres = scale * (np.arange(output_size) + 0.5)
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + support + 0.5).astype(np.int64), input_size)
    # Rounding may find one more than there are.
    sizes = np.minimum(ends - starts, int(np.ceil(np.float32(support))) * 2 + 1)
    taps = np.arange(sizes.max())
    exact = kernel((taps + starts[:, None] - centres[:, None] + 0.5) * (1.0 / stretch))
    exact[taps >= sizes[:, None]] = 0.0
    # Summed one after the other, as there.
    exact /= np.cumsum(exact, axis=1)[:, -1:]
    precision = _precision(float(exact.max()))
    scaled = exact * (1 << precision)
    weights = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int16)
    return AxisWeights(starts.astype(np.int32), weights, precision)


def _precision(largest: float) -> int:
    """The most bits with which the largest weight still is an int16."""
    precision = 0
    while precision < _MOST_PRECISION and int(0.5 + largest * (1 << (precision + 1))) < 1 << 15:
        precision += 1
    return precision


def _bilinear(x: _Floats) -> _Floats:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _bicubic(x: _Floats) -> _Floats:
    """Keys, 1981, "Cubic convolution interpolation for digital image processing", a = -1/2."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: _Floats) -> _Floats:
    """Of three lobes."""
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


#: Half the width of each at its own scale, and its values.
_FILTERS: dict[Filter, tuple[float, Callable[[_Floats], _Floats]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}
