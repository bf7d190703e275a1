"""What the checks of the Triton kernels share: Triton's interpreter with bfloat16 repaired, or the
device that OCTAVO_TRITON_DEVICE names; fresh seeds, and tensors with guard bands around them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

DEVICE = os.environ.get("OCTAVO_TRITON_DEVICE", "cpu")
#: Elements before and behind each guarded tensor.
BAND = 64
#: The largest relative error of rounding to a dtype once.
ROUNDING = {torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-8}
DTYPES = list(ROUNDING)


def as_torch(handle: Any) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(handle.data))
    return tensor.view(torch.bfloat16) if handle.dtype.scalar == tl.bfloat16 else tensor


def repair_bfloat16() -> None:
    """Triton's interpreter keeps bfloat16 as its bits. It multiplies matrices of these bits as if
    they were integers, and cuts off where a GPU rounds to the nearest."""
    builder = interpreter.InterpreterBuilder
    original_cast = builder.cast_impl

    def dot(self: Any, a: Any, b: Any, acc: Any, *precision: Any) -> Any:
        product = as_torch(a).float() @ as_torch(b).float()
        return interpreter.TensorHandle(product.numpy() + acc.data, acc.dtype.scalar)

    def cast(self: Any, source: Any, target: Any) -> Any:
        if source.dtype.scalar == tl.bfloat16 and target.scalar == tl.float32:
            return interpreter.TensorHandle(as_torch(source).float().numpy(), tl.float32)
        if target.scalar == tl.bfloat16:
            assert source.dtype.scalar == tl.float32, "only float32 is cast to bfloat16 here"
            bits = as_torch(source).bfloat16().view(torch.uint16).numpy()
            return interpreter.TensorHandle(bits, tl.bfloat16)
        return original_cast(self, source, target)

    builder.create_dot = dot
    builder.cast_impl = cast


if DEVICE == "cpu":
    assert triton.knobs.runtime.interpret, "run these with TRITON_INTERPRET=1"
    repair_bfloat16()
    # Tiles are too small to share between threads.
    torch.set_num_threads(1)
else:
    # Where every tensor of the checks is made.
    torch.set_default_device(DEVICE)


def fresh_seed() -> int:
    """OCTAVO_TEST_SEED, or 0; `scripts/soak` gives fresh ones. Printed, so that a failure can be
    repeated."""
    seed = int(os.environ.get("OCTAVO_TEST_SEED", "0"))
    print(f"OCTAVO_TEST_SEED={seed}")
    torch.manual_seed(seed)
    return seed


class Guarded:
    """Tensors that lie between bands of a pattern, which must not be read or written."""

    def __init__(self) -> None:
        self._buffers: list[tuple[Tensor, int]] = []

    def place(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor, between bands."""
        return self.empty(tensor.shape, tensor.dtype).copy_(tensor)

    def empty(self, shape: Any, dtype: torch.dtype) -> Tensor:
        """A tensor between bands, itself filled with what no kernel computes."""
        size = torch.Size(shape).numel()
        buffer = _poison(size + 2 * BAND, dtype)
        self._buffers.append((buffer, size))
        return buffer[BAND : BAND + size].view(shape)

    def check(self) -> None:
        for buffer, size in self._buffers:
            expected = _poison(BAND, buffer.dtype).view(torch.uint8)
            for band in (buffer[:BAND], buffer[BAND + size :]):
                assert torch.equal(band.view(torch.uint8), expected), "a guard band was written"


def _poison(size: int, dtype: torch.dtype) -> Tensor:
    return torch.full((size,), float("nan") if dtype.is_floating_point else 77, dtype=dtype)


@contextlib.contextmanager
def guarded_outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    """Every tensor that is allocated meanwhile is poisoned and lies between bands; they are checked
    at the end."""
    guarded = Guarded()

    def empty(*shape: Any, dtype: torch.dtype, device: object = None) -> Tensor:
        sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return guarded.empty(sizes, dtype)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        yield guarded
    guarded.check()


def assert_close(
    actual: Tensor,
    expected: Tensor,
    dtype: torch.dtype,
    roundings: float,
    error: Tensor | float = 0.0,
) -> None:
    """Within so many roundings of dtype, relative to the larger of the value and the scale that the
    values have, besides an absolute error; a NaN, or a shape or dtype that is not as expected,
    fails."""
    assert actual.shape == expected.shape
    assert actual.dtype == dtype
    wide = actual.double()
    exact = expected.double()
    # Below the smallest normal number, roundings are no longer relative.
    floor = max(exact.square().mean().sqrt().item(), torch.finfo(dtype).smallest_normal)
    scale = exact.abs().clamp(min=floor)
    excess = (((wide - exact).abs() - error) / (scale * ROUNDING[dtype])).max().item()
    assert excess <= roundings, f"{excess:.1f} roundings of {dtype}, {roundings} allowed"
