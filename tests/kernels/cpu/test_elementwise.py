"""Norms, rotation, activations and cache writes against exact formulas."""

from __future__ import annotations

import pytest
import torch
from cpu_kernels.batches import exact_heads
from cpu_kernels.comparing import DTYPES, assert_same_bits, assert_within
from octavo.kernels import reference
from octavo.kernels.cpu import ops
from octavo.kernels.kv_format import head_width, is_quantized, scales_of
from octavo.kernels.reference.kv_cache import quantize
from torch import Tensor

pytestmark = pytest.mark.usefixtures("level")
SHAPES = [(1, 1), (3, 15), (2, 16), (4, 17), (7, 100), (2, 5, 64), (1, 3001), (0, 24)]


def exact_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rms_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for scale in (1e-4, 1.0, 300.0):
        x = (torch.randn(shape) * scale).to(dtype)
        weight = torch.randn(shape[-1]).to(dtype)
        exact = exact_norm(x, weight, 1e-6)
        assert_within(ops.rms_norm(x, weight, 1e-6), exact, exact.abs() * 2e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_add_rms_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, residual = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    weight = torch.randn(shape[-1])
    output, summed = ops.add_rms_norm(x, residual, weight, 1e-5)
    assert_same_bits(summed, x + residual)
    exact = exact_norm(x + residual, weight, 1e-5)
    assert_within(output, exact, exact.abs() * 2e-6)


@pytest.mark.parametrize(
    ("dim", "rotary"),
    [(8, 8), (40, 40), (40, 20), (72, 72), (80, 32), (128, 128), (12, 6), (66, 66)],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rotary_embedding(dim: int, rotary: int, dtype: torch.dtype) -> None:
    for tokens, heads in ((1, 1), (5, 3), (0, 2), (17, 1)):
        x = torch.randn(tokens, heads, dim).to(dtype)
        # Of independent angles, so that no half can stand in for the other.
        cos, sin = (torch.randn(tokens, rotary).to(dtype) for _ in range(2))
        actual = ops.rotary_embedding(x, cos, sin)
        exact = reference.rotary_embedding(x.double(), cos.double(), sin.double())
        assert_within(actual, exact, 4e-6)
        assert_same_bits(actual[..., rotary:], x[..., rotary:])


@pytest.mark.parametrize("name", ["silu_and_mul", "gelu_tanh_and_mul"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gated_activations(name: str, dtype: torch.dtype) -> None:
    for shape in ((1,), (3, 15), (2, 1024), (5, 411), (0, 8)):
        gate = (torch.randn(shape) * 4).to(dtype)
        up = torch.randn(shape).to(dtype)
        exact = getattr(reference, name)(gate.double(), up.double())
        error = up.abs().double() * gate.abs().clamp(min=1) * 1e-6
        assert_within(getattr(ops, name)(gate, up), exact, error)


def test_activations_far_from_zero() -> None:
    gate = torch.tensor([-1e30, -200.0, -88.0, -20.0, -0.0, 0.0, 20.0, 88.0, 200.0, 1e30])
    for name in ("silu_and_mul", "gelu_tanh_and_mul"):
        exact = getattr(reference, name)(gate.double(), torch.ones(10).double())
        actual = getattr(ops, name)(gate, torch.ones(10))
        assert_within(actual, exact, exact.abs() * 1e-6 + 4e-6)


def test_not_a_number_stays_so() -> None:
    x = torch.randn(4, 37)
    x[1, 36] = float("nan")
    hole = x.isnan()
    for result in (ops.silu_and_mul(x, x), ops.gelu_tanh_and_mul(x, torch.ones_like(x))):
        assert torch.equal(result.isnan(), hole)
    rounded = ops.rms_norm(x.bfloat16(), torch.ones(37), 1e-6)
    assert torch.equal(rounded.isnan().any(1), hole.any(1))
    assert torch.equal(rounded.isnan().all(1), hole.any(1))


def stored(heads: Tensor, dtype: torch.dtype) -> Tensor:
    return quantize(heads, dtype) if is_quantized(dtype) else heads.to(dtype)


@pytest.mark.parametrize("cache_dtype", [*DTYPES, torch.int8, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cache_writes_touch_their_slots_only(dtype: torch.dtype, cache_dtype: torch.dtype) -> None:
    for blocks, block_size, heads, dim in ((3, 1, 1, 8), (5, 16, 2, 40), (4, 7, 3, 72)):
        tokens = torch.randint(1, blocks * block_size + 1, ()).item()
        slots = torch.randperm(blocks * block_size)[: int(tokens)]
        query, key, value = (torch.randn(len(slots), heads, dim).to(dtype) for _ in range(3))
        cos, sin = torch.randn(len(slots), dim), torch.randn(len(slots), dim)
        width = head_width(cache_dtype, dim) * cache_dtype.itemsize
        unwritten = torch.full((blocks, 3, block_size, heads, width), 0xFF, dtype=torch.uint8)
        caches = unwritten.view(cache_dtype)
        expected = caches.clone()
        rotated = ops.rotary_write_kv(query, key, value, cos, sin, *caches[:, :2].unbind(1), slots)
        assert_same_bits(rotated, ops.rotary_embedding(query, cos, sin))
        block, place = slots // block_size, slots % block_size
        expected[block, 0, place] = stored(ops.rotary_embedding(key, cos, sin), cache_dtype)
        expected[block, 1, place] = stored(value, cache_dtype)
        assert_same_bits(caches, expected)


@pytest.mark.parametrize("cache_dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("dim", [8, 16, 17, 40, 64, 70, 80, 128])
def test_heads_of_all_sizes_are_quantised_to_the_bit(dim: int, cache_dtype: torch.dtype) -> None:
    heads = torch.randn(40, 3, dim) * torch.logspace(-36, 36, 40)[:, None, None]
    heads[0], heads[1, 1], heads[2] = 0.0, -0.0, heads[2].exp2().round()
    heads[3, 0, dim - 1], heads[4, 1, 0], heads[5, 2, dim // 2] = torch.nan, torch.inf, -torch.inf
    for dtype in DTYPES:
        caches = torch.zeros(2, 5, 8, 3, head_width(cache_dtype, dim), dtype=cache_dtype)
        new = heads.to(dtype)
        ops.write_kv(new, new, *caches, torch.arange(40))
        expected = quantize(new, cache_dtype)
        for cache in caches:
            assert_same_bits(exact_heads(cache.flatten(0, 1), dim), exact_heads(expected, dim))
            scales = scales_of(cache.flatten(0, 1))
            assert torch.equal(scales.isnan(), scales_of(expected).isnan())
            assert torch.equal(scales.isnan().any(1).nonzero().flatten(), torch.tensor([3, 4, 5]))
