"""Linear layers, their weights as they are or quantised, against exact products."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from cpu_kernels.comparing import DTYPES, assert_within
from cpu_kernels.weights import (
    GROUP,
    GROUPED_KINDS,
    GROUPS,
    KINDS,
    Kind,
    product,
    random_weight,
    steps_of,
    values_of,
)
from octavo.core.layers.quantized_linear import quantize_groups
from octavo.kernels.cpu.packing import pack
from octavo.kernels.int4 import pack_int4
from octavo.kernels.ops import QuantizedWeight
from octavo.kernels.weights import LinearWeight
from torch import Tensor

pytestmark = pytest.mark.usefixtures("level")
ALL_KINDS = (*KINDS, *GROUPED_KINDS)
WHOLE_KINDS = tuple(kind for kind in ALL_KINDS if kind.startswith("int"))
ROWS = (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 17, 31, 33, 48, 50, 97, 200)


def random_sizes(kind: Kind) -> tuple[int, int]:
    """Outputs and inputs."""
    n = random.choice((1, 7, 15, 16, 17, 32, 40, 65, 100))
    if kind in GROUPS:
        return n, GROUPS[kind] * random.choice((1, 2, 3, 5, 9, 33))
    return n, random.choice((1, 2, 7, 8, 63, 64, 65, 72, 128, 130, 257, 320, 580, 2112))


def error_of(kind: Kind, x: Tensor, weight: LinearWeight) -> Tensor:
    """Error bound of the products, from the rounding of sums and of activations, and of float8
    times its scale to bfloat16."""
    sizes = values_of(weight).abs().T
    sums = x.double().abs() @ sizes + (0 if weight.bias is None else weight.bias.double().abs())
    error = sums * ((x.shape[1] + 8) * 2**-24)
    if kind in WHOLE_KINDS:
        error += steps_of(x).double() / 2 * 1.0001 @ sizes
        # Of factors to float16.
        error += x.double().abs() @ torch.full_like(sizes, 2**-11 * float(sizes.max()))
    if kind == "fp8" and x.dtype is torch.bfloat16:
        error += sums * 2**-8
    return error


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products(kind: Kind, dtype: torch.dtype) -> None:
    for rows in random.sample(ROWS, 9):
        n, k = random_sizes(kind)
        weight = random_weight(kind, n, k, bias=random.random() < 0.5)
        # A part of a wider tensor, so that rows don't follow one another.
        x = torch.randn(rows, k + 3).to(dtype)[:, :k]
        actual = pack([weight], dtype)(x)
        assert actual.dtype == dtype
        assert_within(actual, product(x, weight), error_of(kind, x, weight))


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_groups_that_are_several_of_the_kernels_own(groups: int) -> None:
    k = GROUP * groups * 2
    weight = LinearWeight(quantize_groups(torch.randn(40, k) / k**0.5, GROUP * groups))
    for rows in random.sample(ROWS, 3):
        x = torch.randn(rows, k)
        actual = pack([weight], torch.float32)(x)
        assert_within(actual, product(x, weight), error_of("int4", x, weight))


def whole_weight(kind: Kind, n: int, k: int) -> LinearWeight:
    """Weights with all values of eight or four bits, and scales that are powers of two."""
    bias = torch.randint(-100, 100, (n,)).float()
    group = GROUPS.get(kind, k)
    scale = powers_of_two(n, k // group)
    zero = torch.randint(-16, 17, scale.shape) / 2
    if kind.startswith("int8"):
        steps = torch.randint(-128, 128, (n, k), dtype=torch.int8)
        used = zero if kind.endswith("zeros") else None
        return LinearWeight(QuantizedWeight("int8", steps, scale, used, group), bias)
    if kind == "fp8":
        steps = torch.randint(-16, 17, (n, k)).to(torch.float8_e4m3fn)
        return LinearWeight(QuantizedWeight("fp8", steps, scale, None, group), bias)
    data = torch.randint(256, (n, k // 2), dtype=torch.uint8)
    used = zero if random.random() < 0.7 else None
    return LinearWeight(QuantizedWeight("int4", data, scale, used, group), bias)


def powers_of_two(*shape: int) -> Tensor:
    return torch.tensor([0.5, 1.0, 2.0])[torch.randint(3, shape)]


@pytest.mark.parametrize("kind", [*WHOLE_KINDS, "fp8"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_whole_numbers_are_multiplied_exactly(kind: Kind, dtype: torch.dtype) -> None:
    for rows in random.sample(ROWS, 9):
        n, k = random_sizes(kind)
        x = torch.randint(-127, 128, (rows, k)).float()
        # The largest of each group makes its step a power of two.
        groups = -(-k // GROUP)
        x[:, ::GROUP] = torch.tensor([-127.0, 127.0])[torch.randint(2, (rows, groups))]
        x *= powers_of_two(rows, groups).repeat_interleave(GROUP, dim=1)[:, :k]
        x[rows // 2 : rows // 2 + rows % 2] = 0
        weight = whole_weight(kind, n, k)
        expected = product(x, weight)
        assert torch.equal(pack([weight], dtype)(x.to(dtype)), expected.to(dtype))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_several_layers_as_one(kind: Kind) -> None:
    """One after the other, or sixteen outputs of each in turn; a bias may be missing."""
    k = 128
    parts = [random_weight(kind, n, k, bias=n != 8) for n in (40, 8, 17)]
    x = torch.randn(5, k)
    exact = torch.cat([product(x, part) for part in parts], dim=1)
    error = torch.cat([error_of(kind, x, part) for part in parts], dim=1)
    assert_within(pack(parts, torch.float32)(x), exact, error)

    pair = [random_weight(kind, 40, k, bias=bias) for bias in (True, False)]
    mixed = pack(pair, torch.float32, interleave=True)(x).view(5, 3, 2, 16)
    for i, part in enumerate(pair):
        actual = mixed[:, :, i].flatten(1)
        assert_within(actual[:, :40], product(x, part), error_of(kind, x, part))
        assert not actual[:, 40:].any()


def test_float32_and_bfloat16_layers_as_one() -> None:
    parts = [random_weight("float32", 20, 72), random_weight("bfloat16", 9, 72)]
    x = torch.randn(3, 72)
    exact = torch.cat([product(x, part) for part in parts], dim=1)
    error = torch.cat([error_of("float32", x, part) for part in parts], dim=1)
    assert_within(pack(parts, torch.float32)(x), exact, error)


@pytest.mark.parametrize("first", ALL_KINDS)
def test_layers_of_several_formats_as_one(first: Kind) -> None:
    """As projections of one input, whose outputs are whole panels but the last's."""
    others = [kind for kind in ALL_KINDS if kind != first]
    for dtype in DTYPES:
        kinds = [first, *random.sample(others, 2)]
        parts = [random_weight(kind, n, 192) for kind, n in zip(kinds, (48, 16, 30), strict=True)]
        for rows in (1, 5, 70):
            x = torch.randn(rows, 192).to(dtype)
            alone = torch.cat([pack([part], dtype)(x, torch.float32) for part in parts], dim=1)
            assert torch.equal(pack(parts, dtype)(x, torch.float32), alone)


def test_one_scale_of_all_inputs_that_are_no_whole_blocks() -> None:
    """Formats whose scales are of groups have as many equal ones."""
    steps = torch.randint(-100, 101, (20, 70), dtype=torch.int8)
    scale, zero = torch.rand(20, 1), torch.randn(20, 1)
    x = torch.randn(3, 70)
    codes = (steps.int() + 100).to(torch.uint8) // 16
    for weight in (
        QuantizedWeight("int8", steps, scale, zero, 70),
        QuantizedWeight("int4", pack_int4(codes, 70), scale, zero, 70),
        QuantizedWeight("fp8", steps.to(torch.float8_e4m3fn), scale, None, 70),
    ):
        known = LinearWeight(weight)
        kind: Kind = "fp8" if weight.format == "fp8" else "int8 by 32"
        assert_within(pack([known], torch.float32)(x), product(x, known), error_of(kind, x, known))


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_factors_of_any_size(size: float) -> None:
    """float16 alone would hold none of these."""
    quantised = quantize_groups(torch.randn(33, 96), 32)
    sizes = torch.tensor([1.0] * 16 + [size] * 17)[:, None]
    zero = quantised.zero
    assert zero is not None
    weight = replace(quantised, scale=quantised.scale * sizes, zero=zero * sizes)
    x = torch.randn(2, 96)
    first, second = (pack([LinearWeight(w)], torch.float32)(x) for w in (quantised, weight))
    # Offsets of up to 16 steps are rounded to float16.
    assert_within(second / sizes[:, 0], first.double(), first.abs() * 1e-3 + 2e-2)


def test_float8_that_is_not_a_number_is_refused() -> None:
    steps = torch.tensor([[float("nan")] * 64]).to(torch.float8_e4m3fn)
    weight = QuantizedWeight("fp8", steps, torch.ones(1, 1), None, 64)
    with pytest.raises(ValueError, match="float8 weight has values that are not numbers"):
        pack([LinearWeight(weight)], torch.float32)


def test_float32_that_bfloat16_holds_is_stored_so() -> None:
    weight = torch.randn(20, 72).bfloat16().float()
    stored_bf16, wide = pack([LinearWeight(weight)], torch.float32), LinearWeight(weight)
    assert stored_bf16.data.nbytes == 2 * 32 * 128
    x = torch.randn(30, 72)
    assert_within(stored_bf16(x), product(x, wide), error_of("float32", x, wide))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_not_a_number_stays_in_its_row(kind: Kind) -> None:
    for rows in (1, 3, 20):
        weight = random_weight(kind, 33, 128)
        packed = pack([weight], torch.float32)
        x = torch.randn(rows, 128)
        clean = packed(x)
        for value in (float("nan"), float("inf")):
            broken = x.clone()
            broken[rows // 2, 70] = value
            actual = packed(broken)
            assert not actual[rows // 2].isfinite().any()
            others = torch.arange(rows) != rows // 2
            assert torch.equal(actual[others], clean[others])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_tiny_and_huge_activations(kind: Kind) -> None:
    weight = random_weight(kind, 33, 128)
    packed = pack([weight], torch.float32)
    for size in (0.0, 1e-37, 1e-35, 1e-20, 1e20, 1e35):
        x = torch.randn(6, 128) * size
        assert_within(packed(x), product(x, weight), error_of(kind, x, weight) + 1e-28)


def test_no_rows() -> None:
    weight = random_weight("float32", 33, 128)
    assert pack([weight], torch.float32)(torch.empty(0, 128)).shape == (0, 33)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_rounding_of_outputs_to_bfloat16(kind: Kind) -> None:
    """To the nearest, ties to even, for values around and halfway between two."""
    upper = torch.randint(2**16, (4000, 1)) << 16
    lower = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    values = (upper | lower).to(torch.int32).view(torch.float32).flatten()
    # Kernels take what is too small to be normal for zero.
    values = values[(values.abs() > 1e-37) | values.isnan()]
    values = values.bfloat16().float() if kind == "bfloat16" else values
    packed = pack([LinearWeight(values[:, None])], torch.bfloat16)
    actual = packed(torch.ones(1, 1, dtype=torch.bfloat16))[0]
    expected = values.bfloat16()
    assert torch.equal(actual.isnan(), expected.isnan())
    assert torch.equal(actual[~actual.isnan()], expected[~expected.isnan()])
