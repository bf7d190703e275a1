"""Bounds of results' errors."""

from __future__ import annotations

import torch
from torch import Tensor

#: The largest relative error of rounding to a dtype once.
ROUNDING = {torch.float32: 2**-24, torch.bfloat16: 2**-8}
DTYPES = tuple(ROUNDING)


def assert_within(actual: Tensor, exact: Tensor, error: Tensor | float) -> None:
    """actual: computed with an absolute error of at most `error`, then rounded to its dtype."""
    assert actual.shape == exact.shape
    bound = torch.as_tensor(error).double() + exact.abs() * ROUNDING[actual.dtype] * 1.01
    excess = (actual.double() - exact.double()).abs() / bound.clamp(min=1e-36)
    # A comparison that not-a-number fails.
    assert bool((excess <= 1).all()), f"{excess.max().item():.2f} times the error allowed"


def assert_near(actual: Tensor, exact: Tensor, error: float) -> None:
    """The error of a whole is at most this share of it, both as root mean squares."""
    assert actual.shape == exact.shape
    difference = (actual.double() - exact.double()).square().mean().sqrt()
    share = (difference / exact.double().square().mean().sqrt()).item()
    assert share <= error, f"off by {share:.2e}, {error:.2e} allowed"


def assert_same_bits(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == expected.dtype
    actual, expected = (t.contiguous().view(torch.uint8) for t in (actual, expected))
    assert torch.equal(actual, expected)
