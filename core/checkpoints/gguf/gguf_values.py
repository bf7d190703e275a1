"""Values of a GGUF file's tensors."""

from __future__ import annotations

import math

import numpy as np
from gguf import GGML_QUANT_SIZES, dequantize
from numpy.typing import NDArray

from ...contracts.specs import StoredTensor
from .gguf_file import GgufTensor

#: Rows that are dequantised as one.
_ROWS_MERGED = 64
#: Types that safetensors has, too, by the same names.
_FLOATS = ("F32", "F16", "BF16")


def dequantized(tensor: GgufTensor) -> NDArray[np.float32]:
    """Of the tensor's shape. Some hundred kilobytes at once: dequantize takes 16 rows, and rows may
    be short."""
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    merged = rows.reshape(len(rows) // math.gcd(len(rows), _ROWS_MERGED), -1)
    values: NDArray[np.float32] = dequantize(merged, tensor.kind)
    return values.reshape(*tensor.data.shape[:-1], -1)


def shape_of(tensor: GgufTensor) -> tuple[int, ...]:
    """In values, the outermost dimension first, as torch has it."""
    block, block_bytes = GGML_QUANT_SIZES[tensor.kind]
    *outer, row_bytes = tensor.data.shape
    return (*outer, row_bytes // block_bytes * block)


def as_stored(tensor: GgufTensor) -> StoredTensor:
    """One that holds the same values; what is no plain float is dequantised to float32."""
    shape, name = shape_of(tensor), tensor.kind.name
    if name in _FLOATS:
        return StoredTensor(name, shape, tensor.data.nbytes)
    return StoredTensor("F32", shape, math.prod(shape) * np.float32().nbytes)
