"""The two passes in C++, compiled at first use as the other kernels are, but apart from them: it
needs neither torch nor OpenMP."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_void_p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cpu.build import build_library
from ..cpu.isa import choose_isa
from .weights import AxisWeights

SOURCES = Path(__file__).parent / "src"
FLAGS = ("-fno-openmp",)
_PICTURE = (c_void_p, c_int32, c_int32)
_AXIS = (c_void_p, c_void_p, c_int32, c_int32)
_Bytes = NDArray[np.uint8]


class CompiledPasses:
    """See `numpy_passes.py`. Pixels must be contiguous. Raises KernelError if the library can't be
    compiled."""

    def __init__(self) -> None:
        path = build_library(choose_isa(), FLAGS, SOURCES)
        library = ctypes.CDLL(str(path))
        self._horizontal = library.octavo_resize_horizontal
        self._vertical = library.octavo_resize_vertical
        for function in (self._horizontal, self._vertical):
            function.restype = None
            function.argtypes = [*_PICTURE, c_void_p, c_int32, *_AXIS]

    def horizontal(self, pixels: _Bytes, axis: AxisWeights) -> _Bytes:
        """[height, width, 3] -> [height, len(axis.starts), 3]."""
        height, width = pixels.shape[:2]
        output = np.empty((height, len(axis.starts), 3), np.uint8)
        self._horizontal(pixels.ctypes, height, width, output.ctypes, *_arguments(axis))
        return output

    def vertical(self, pixels: _Bytes, axis: AxisWeights) -> _Bytes:
        """[height, width, 3] -> [len(axis.starts), width, 3]."""
        height, width = pixels.shape[:2]
        output = np.empty((len(axis.starts), width, 3), np.uint8)
        self._vertical(pixels.ctypes, height, width, output.ctypes, *_arguments(axis))
        return output


def _arguments(axis: AxisWeights) -> tuple[object, ...]:
    size, taps = axis.weights.shape
    return size, axis.starts.ctypes, axis.weights.ctypes, taps, axis.precision
