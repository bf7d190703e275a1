"""Blocks of GGUF's quantised types as integers with a scale, and a zero, for each group of inputs
(layouts: ggml-quants.h and ggml-quants.c of ggml-org/ggml)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from .gguf_file import GgufTensor

_Kind = GGMLQuantizationType
_Bytes = NDArray[np.uint8]
#: Groups of a block of 256 inputs, but for Q6_K.
_SCALES = 8
#: Values of IQ4_NL's and IQ4_XS's codes.
_IQ4_VALUES = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8
)


class GgufCodes(NamedTuple):
    """value = scale · step + zero. steps: [rows, inputs], uint8 below 16 for four bits, else int8;
    scale and zero: float32 [rows, groups]; zero: None if it is 0 everywhere."""

    steps: NDArray[Any]
    scale: NDArray[np.float32]
    zero: NDArray[np.float32] | None


class Packing(NamedTuple):
    """What a type of tensors becomes: bits and inputs of a group, whether groups have zeros, and
    the function that reads blocks [n, bytes] of it."""

    bits: int
    group_size: int
    has_zero: bool
    read: Callable[[_Bytes], GgufCodes]


def read_codes(tensor: GgufTensor, packing: Packing) -> GgufCodes:
    """Of a matrix."""
    rows, row_bytes = tensor.data.shape
    block_bytes = GGML_QUANT_SIZES[tensor.kind][1]
    codes = packing.read(tensor.data.reshape(rows * row_bytes // block_bytes, block_bytes))
    zero = None if codes.zero is None else codes.zero.reshape(rows, -1)
    return GgufCodes(codes.steps.reshape(rows, -1), codes.scale.reshape(rows, -1), zero)


def _half(data: _Bytes, start: int) -> NDArray[np.float32]:
    """[n, 1]."""
    return data[:, start : start + 2].copy().view(np.float16).astype(np.float32)


def _halves(data: _Bytes) -> _Bytes:
    """Low bits of each run of bytes, then its high ones: [n, …, bytes] -> [n, …, 2 · bytes]."""
    return np.concatenate([data & 15, data >> 4], axis=-1)


def _fifth_bits(data: _Bytes) -> _Bytes:
    """[n, 4] -> [n, 32], each 0 or 16."""
    bits: _Bytes = np.unpackbits(data, axis=1, bitorder="little") * np.uint8(16)
    return bits


def _q4_0(data: _Bytes) -> GgufCodes:
    scale = _half(data, 0)
    return GgufCodes(_halves(data[:, 2:]), scale, -8 * scale)


def _q4_1(data: _Bytes) -> GgufCodes:
    return GgufCodes(_halves(data[:, 4:]), _half(data, 0), _half(data, 2))


def _q5_0(data: _Bytes) -> GgufCodes:
    steps = _halves(data[:, 6:]) | _fifth_bits(data[:, 2:6])
    return GgufCodes(steps.astype(np.int8) - 16, _half(data, 0), None)


def _q5_1(data: _Bytes) -> GgufCodes:
    steps = _halves(data[:, 8:]) | _fifth_bits(data[:, 4:8])
    return GgufCodes(steps.astype(np.int8), _half(data, 0), _half(data, 2))


def _q8_0(data: _Bytes) -> GgufCodes:
    return GgufCodes(data[:, 2:].view(np.int8), _half(data, 0), None)


def _k_factors(data: _Bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scales and zeros [n, 8] of a block that begins with two halves and twelve bytes of six-bit
    numbers: four of each in whole bytes, whose upper two bits belong to the other four."""
    low, high, mixed = data[:, 4:8], data[:, 8:12], data[:, 12:16]
    scales = np.concatenate([low & 63, mixed & 15 | (low >> 6) << 4], axis=1)
    minima = np.concatenate([high & 63, mixed >> 4 | (high >> 6) << 4], axis=1)
    return _half(data, 0) * scales, -_half(data, 2) * minima


def _q4_k(data: _Bytes) -> GgufCodes:
    steps = _halves(data[:, 16:].reshape(len(data), 4, 32))
    return GgufCodes(steps, *_k_factors(data))


def _q5_k(data: _Bytes) -> GgufCodes:
    low = _halves(data[:, 48:].reshape(len(data), 4, 32)).reshape(len(data), _SCALES, 32)
    bits = np.arange(_SCALES, dtype=np.uint8)[:, None]
    fifth = (data[:, None, 16:48] >> bits & 1) << 4
    return GgufCodes((low | fifth).astype(np.int8), *_k_factors(data))


def _q6_k(data: _Bytes) -> GgufCodes:
    low = _halves(data[:, :128].reshape(len(data), 2, 64))
    high = data[:, 128:192].reshape(len(data), 2, 1, 32) >> np.array([[0], [2], [4], [6]], np.uint8)
    steps = (low.reshape(len(data), 2, 4, 32) | (high & 3) << 4).astype(np.int8) - 32
    return GgufCodes(steps, _half(data, 208) * data[:, 192:208].view(np.int8), None)


def _iq4_nl(data: _Bytes) -> GgufCodes:
    return GgufCodes(_IQ4_VALUES[_halves(data[:, 2:])], _half(data, 0), None)


def _iq4_xs(data: _Bytes) -> GgufCodes:
    high = data[:, 2:4].copy().view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    low = np.stack([data[:, 4:8] & 15, data[:, 4:8] >> 4], axis=2).reshape(len(data), _SCALES)
    scale = (low | high << 4).astype(np.float32) - 32
    steps = _IQ4_VALUES[_halves(data[:, 8:].reshape(len(data), _SCALES, 16))]
    return GgufCodes(steps, _half(data, 0) * scale, None)


#: By type, of those whose values the kernels' integers hold exactly.
PACKINGS = {
    _Kind.Q4_0: Packing(4, 32, True, _q4_0),
    _Kind.Q4_1: Packing(4, 32, True, _q4_1),
    _Kind.Q5_0: Packing(8, 32, False, _q5_0),
    _Kind.Q5_1: Packing(8, 32, True, _q5_1),
    _Kind.Q8_0: Packing(8, 32, False, _q8_0),
    _Kind.Q4_K: Packing(4, 32, True, _q4_k),
    _Kind.Q5_K: Packing(8, 32, True, _q5_k),
    _Kind.Q6_K: Packing(8, 16, False, _q6_k),
    _Kind.IQ4_NL: Packing(8, 32, False, _iq4_nl),
    _Kind.IQ4_XS: Packing(8, 32, False, _iq4_xs),
}
