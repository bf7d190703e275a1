"""Linear layers with quantised weights against the reference in float64."""

from __future__ import annotations

import random

import pytest
import torch
from octavo.kernels import reference
from octavo.kernels import triton as kernels
from octavo.kernels.ops import QuantizedFormat, QuantizedWeight
from torch import Tensor
from triton_interpreted.support import DTYPES, Guarded, assert_close, fresh_seed, guarded_outputs


def random_weight(
    guarded: Guarded, chance: random.Random, format: QuantizedFormat, width: int, group: int
) -> QuantizedWeight:
    height = chance.choice([1, 20, 64, 70])
    if format == "int8":
        data = torch.randint(-128, 128, (height, width), dtype=torch.int8)
    elif format == "int4":
        data = torch.randint(0, 256, (height, width // 2), dtype=torch.uint8)
    else:
        data = every_fp8()[torch.randint(0, 254, (height, width))]
    groups = width // group
    zero = torch.randn(height, groups) if chance.random() < 0.7 else None
    return QuantizedWeight(
        format,
        guarded.place(data.view(torch.uint8)).view(data.dtype),
        guarded.place(torch.rand(height, groups) + 0.1),
        None if zero is None else guarded.place(zero),
        group,
    )


def every_fp8() -> Tensor:
    """All values of float8_e4m3fn but its two NaNs."""
    bits = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    return bits[(bits & 127) != 127].view(torch.float8_e4m3fn)


CASES: list[tuple[QuantizedFormat, int, int]] = [
    ("int8", 100, 100),
    ("int8", 128, 32),
    ("int8", 600, 600),
    ("int4", 36, 36),
    ("int4", 192, 64),
    ("int4", 1024, 256),
    ("int4", 96, 96),
    ("fp8", 90, 90),
    ("fp8", 192, 48),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("format", "width", "group"), CASES)
def check_random_weights(
    format: QuantizedFormat,
    width: int,
    group: int,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(fresh_seed())
    rows = chance.choice([1, chance.randint(2, 32), chance.randint(33, 80)])
    with guarded_outputs(monkeypatch) as guarded:
        weight = random_weight(guarded, chance, format, width, group)
        wide = guarded.place(torch.randn(rows, width + 5).to(dtype))
        x = wide[:, :width]
        bias = guarded.place(torch.randn(weight.out_features).to(dtype))
        bias = bias if chance.random() < 0.5 else None
        actual = kernels.dequant_linear(x, weight, bias)
    expected = reference.dequant_linear(x.double(), weight, None if bias is None else bias.double())
    # What is summed in float32 may be much larger than the sum.
    sums = x.double().abs() @ reference.dequantize(weight).double().abs().T
    assert_close(actual, expected, dtype, 2, sums * 2**-20)


def check_every_fp8_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of one picks each weight out: it must come back to the bit."""
    values = every_fp8()
    weight = QuantizedWeight("fp8", values[:, None], torch.ones(len(values), 1), None, 1)
    with guarded_outputs(monkeypatch):
        for dtype in DTYPES:
            actual = kernels.dequant_linear(torch.ones(1, 1, dtype=dtype), weight)
            assert torch.equal(actual[0], values.to(dtype))


def check_every_int4_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that pick the low and the high half of a byte out."""
    weight = QuantizedWeight(
        "int4",
        torch.arange(256, dtype=torch.int16).to(torch.uint8)[:, None],
        torch.ones(256, 1),
        None,
        2,
    )
    with guarded_outputs(monkeypatch):
        low, high = kernels.dequant_linear(torch.eye(2), weight)
    assert low.tolist() == [byte % 16 for byte in range(256)]
    assert high.tolist() == [byte // 16 for byte in range(256)]


def check_shapes_and_refusals() -> None:
    weight = QuantizedWeight("int8", torch.ones(3, 24, dtype=torch.int8), torch.ones(3, 3), None, 8)
    with pytest.raises(ValueError, match="24"):
        kernels.dequant_linear(torch.ones(2, 25), weight)
    with pytest.raises(ValueError, match="group of 8 takes 8 bytes"):
        kernels.dequant_linear(torch.ones(2, 24), weight)
    whole = QuantizedWeight("int8", weight.data, torch.ones(3, 1), None, 24)
    assert kernels.dequant_linear(torch.ones(2, 5, 24), whole).tolist() == [[[24.0] * 3] * 5] * 2
    assert kernels.dequant_linear(torch.ones(0, 24), whole).shape == (0, 3)
