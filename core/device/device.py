"""Which device and number format to use, and how much memory there is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..protocol.config import ConfigError
from ..system import memory
from .dtype_choice import choose_dtype_name

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_KV_CACHE_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "fp8": torch.float8_e4m3fn,
}
_ALIGNMENT = 64


def choose_device(name: str) -> torch.device:
    """The named device; "auto" is CUDA where there is one. Raises ConfigError for one that this
    machine, or this build of torch, can't compute on."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda, cuda:1, …, got {name!r}") from error
    if device.type == "cuda":
        _check_cuda(device)
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} can't be used here: {error}; try cpu") from error
    return device


def _check_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        why = "finds no GPU with a driver" if torch.version.cuda else "was built without CUDA"
        raise ConfigError(f"device '{device}' can't be used: torch {why}; take cpu, or auto")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise ConfigError(f"device '{device}' is not there: the last one is cuda:{count - 1}")


def choose_dtype(name: str, checkpoint_dtype: str | None, device: torch.device) -> torch.dtype:
    """See `choose_dtype_name`."""
    return _DTYPES[choose_dtype_name(name, checkpoint_dtype, device.type == "cpu")]


def choose_kv_cache_dtype(
    name: str, dtype_name: str, checkpoint_dtype: str | None, dtype: torch.dtype
) -> torch.dtype:
    """The named dtype; "auto" is that of activations, or bfloat16 for a checkpoint of that dtype
    that is computed in float32 though nobody asked for it by dtype_name: who serves bfloat16
    expects no more of its keys and values. What it means for the cache: `kernels.kv_format`."""
    if name != "auto":
        return _KV_CACHE_DTYPES[name]
    unasked = dtype_name == "auto" and dtype is torch.float32
    return torch.bfloat16 if unasked and checkpoint_dtype == "bfloat16" else dtype


def available_memory(device: torch.device) -> int:
    """Bytes that could be allocated now; on a CPU, within the control group's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory.available_memory()


def allocate_zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Like torch.zeros, but on a CPU memory is only taken as it is written to: torch would fill
    gigabytes first."""
    if device.type != "cpu":
        return torch.zeros(*shape, dtype=dtype, device=device)
    num_bytes = math.prod(shape) * dtype.itemsize
    zeros = torch.from_numpy(np.zeros(num_bytes + _ALIGNMENT, dtype=np.uint8))
    start = -zeros.data_ptr() % _ALIGNMENT
    return zeros[start : start + num_bytes].view(dtype).view(*shape)
