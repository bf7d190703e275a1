"""Features that a client has computed, from the file formats that hold arrays and nothing else."""

from __future__ import annotations

import io
import math
import threading
from typing import Any

import numpy as np
import safetensors

from ..protocol.media_error import MediaError
from .features import STORED_AS, Features

_NPY_MAGIC = b"\x93NUMPY"
#: It is not typed.
_deserialize: Any = safetensors.deserialize
_FLOATS = {"float32": np.float32, "float16": np.float16}
#: Names of the dtypes in safetensors files.
_TENSOR_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
#: CPython 3.11 counts how deep it parses for all threads together, and fails where they mix.
_parsing = threading.Lock()


def read_feature_file(data: bytes) -> Features:
    """[num_features, hidden_size] from a .npy file, or a safetensors file with one tensor.

    Raises MediaError for anything else, numbers that are not finite included.
    """
    try:
        features = _read_npy(data) if data.startswith(_NPY_MAGIC) else _read_safetensors(data)
    except Exception as error:  # numpy parses the header as Python, and lets out what that raises
        reason = str(error) or type(error).__name__
        raise MediaError(f"the features can't be read: {reason}") from error
    check_finite(features)
    return features


def check_finite(features: Features) -> None:
    """Raises MediaError for an infinity, or what is no number."""
    if not features.is_finite():
        raise MediaError("the features have numbers that are not finite")


def _read_npy(data: bytes) -> Features:
    """As numpy reads it, but that nothing is allocated before the header fits the file."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"version {version} of .npy is not known")
    with _parsing:
        shape, fortran_order, dtype = read(file)
    body = memoryview(data)[file.tell() :]
    if dtype.name not in _FLOATS or not dtype.isnative or fortran_order:
        raise ValueError("a .npy file must hold float32 or float16 in C order")
    if math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"the .npy header says {list(shape)}, which is not what follows")
    return Features(dtype.name, np.frombuffer(body, dtype).reshape(shape))


def _read_safetensors(data: bytes) -> Features:
    # Read by its own code, as safetensors' numpy has no bfloat16.
    tensors = _deserialize(data)
    if len(tensors) != 1:
        raise ValueError(f"a safetensors file must hold one tensor, not {len(tensors)}")
    ((_, tensor),) = tensors
    dtype = _TENSOR_DTYPES.get(tensor["dtype"], tensor["dtype"])
    if dtype not in STORED_AS:
        raise ValueError(f"the tensor must be {', '.join(_TENSOR_DTYPES)}, not {dtype}")
    return Features(dtype, np.frombuffer(tensor["data"], STORED_AS[dtype]).reshape(tensor["shape"]))
