"""How fast this machine reads memory and multiplies matrices, measured with torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from .results import MachineLimits

_READ_BYTES = 2**30
_SIDE = 1024
_REPEATS = 20
_LONGEST_S = 2.0


def measure_limits() -> MachineLimits:
    """With all cores; the best of several tries, a few seconds in all."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    weights = torch.ones(_READ_BYTES // 4)
    read = _READ_BYTES / _fastest(weights.sum)
    del weights
    return MachineLimits(
        read_bytes_s=read,
        float32_flops=_matrix_rate(torch.float32),
        bfloat16_flops=_matrix_rate(torch.bfloat16),
    )


def _matrix_rate(dtype: torch.dtype) -> float:
    a, b = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
    return 2 * _SIDE**3 / _fastest(lambda: torch.nn.functional.linear(a, b))


def _fastest(work: Callable[[], object]) -> float:
    """Seconds."""
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
        if sum(times) > _LONGEST_S:
            break
    return min(times)
