"""Norms, rotary embedding, cache writes and activations against the reference in float32."""

from __future__ import annotations

import inspect
import math
import random
from types import ModuleType

import pytest
import torch
from octavo.kernels import reference
from octavo.kernels import triton as kernels
from octavo.kernels.kv_format import head_width, scales_of
from triton_interpreted.support import (
    DTYPES,
    assert_close,
    fresh_seed,
    guarded_outputs,
)

WIDTHS = (1, 17, 64, 576, 2049)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def check_norms(width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(fresh_seed())
    weight_dtype = chance.choice([dtype, torch.float32])
    rows = chance.randint(1, 9)
    with guarded_outputs(monkeypatch) as guarded:
        # A slice of a wider tensor, whose neighbours must not matter.
        wide = guarded.place(torch.randn(rows, width + 3).to(dtype))
        x = wide[:, :width]
        residual = guarded.place((torch.randn(rows, width) * 3).to(dtype))
        weight = guarded.place(torch.randn(width).to(weight_dtype))
        normed = kernels.rms_norm(x, weight, 1e-5)
        added, summed = kernels.add_rms_norm(x, residual, weight, 1e-5)
    assert_close(normed, reference.rms_norm(x.float(), weight.float(), 1e-5), dtype, 8)
    assert torch.equal(summed, x + residual)
    assert_close(added, reference.rms_norm(summed.float(), weight.float(), 1e-5), dtype, 8)


def check_norm_keeps_the_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh_seed()
    x, weight = torch.randn(3, 5, 24), torch.randn(24)
    with guarded_outputs(monkeypatch):
        normed = kernels.rms_norm(x, weight, 1e-6)
        nothing = kernels.rms_norm(x[:0], weight, 1e-6)
    assert_close(normed, reference.rms_norm(x, weight, 1e-6), torch.float32, 16)
    assert nothing.shape == (0, 5, 24)


#: The gate is multiplied with the sigmoid of this. In the reference, 1 + tanh(x) loses all digits.
SIGMOID_OF = {
    "silu_and_mul": lambda x: x,
    "gelu_tanh_and_mul": lambda x: math.sqrt(8 / math.pi) * (x + 0.044715 * x**3),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SIGMOID_OF)
@pytest.mark.parametrize("width", [1, 100, 1025])
def check_activations(
    name: str, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random.Random(fresh_seed()).randint(1, 5)
    with guarded_outputs(monkeypatch) as guarded:
        both = guarded.place((torch.randn(rows, 2 * width) * 4).to(dtype))
        gate, up = both.chunk(2, dim=-1)
        actual = getattr(kernels, name)(gate, up)
    product = gate.double() * up.double()
    expected = product * torch.sigmoid(SIGMOID_OF[name](gate.double()))
    # A sigmoid in float32 is off by a few roundings of 1, however small it is itself.
    assert_close(actual, expected, dtype, 2, product.abs() * 2**-21)


HEADS = [(1, 1, 16, 16), (9, 3, 64, 64), (6, 2, 20, 12), (5, 5, 72, 36), (32, 4, 128, 128)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim", "rotary_dim"), HEADS)
def check_rotary(
    heads: int,
    kv_heads: int,
    head_dim: int,
    rotary_dim: int,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(fresh_seed())
    tokens, block_size, blocks = chance.randint(1, 6), chance.choice([1, 5, 16]), 9
    slots = torch.tensor(chance.sample(range(blocks * block_size), tokens))
    with guarded_outputs(monkeypatch) as guarded:
        # Queries, keys and values as one projection makes them.
        projected = guarded.place(torch.randn(tokens, heads + 2 * kv_heads, head_dim).to(dtype))
        query, key, value = projected.split([heads, kv_heads, kv_heads], dim=1)
        cos, sin = (guarded.place(torch.randn(tokens, rotary_dim).to(dtype)) for _ in range(2))
        caches = [
            guarded.place(torch.randn(blocks, block_size, kv_heads, head_dim).to(dtype))
            for _ in range(4)
        ]
        before = [cache.clone() for cache in caches]
        alone = kernels.rotary_embedding(query, cos, sin)
        fused = kernels.rotary_write_kv(query, key, value, cos, sin, *caches[:2], slots)
        kernels.write_kv(key, value, *caches[2:], slots)
    expected = reference.rotary_embedding(query.float(), cos.float(), sin.float())
    expected_key = reference.rotary_embedding(key.float(), cos.float(), sin.float())
    for actual in (alone, fused):
        assert_close(actual, expected, dtype, 4)
        assert torch.equal(actual[..., rotary_dim:], query[..., rotary_dim:])
    written = caches[0].flatten(0, 1)[slots]
    assert_close(written, expected_key, dtype, 4)
    for cache, old, new in zip(caches, before, (written, value, key, value), strict=True):
        old.flatten(0, 1)[slots] = new
        assert torch.equal(cache, old)


def check_caches_that_are_parts_of_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values of one block side by side, as a cache of pairs has them."""
    fresh_seed()
    slots = torch.tensor([7, 0])
    with guarded_outputs(monkeypatch) as guarded:
        both = guarded.place(torch.zeros(3, 2, 4, 2, 8))
        key, value = torch.randn(2, 2, 8), torch.randn(2, 2, 8)
        kernels.write_kv(key, value, both[:, 0], both[:, 1], slots)
    expected = torch.zeros(3, 2, 4, 2, 8)
    expected[1, 0, 3], expected[0, 0, 0] = key
    expected[1, 1, 3], expected[0, 1, 0] = value
    assert torch.equal(both, expected)


def check_tensors_with_gaps() -> None:
    """Inputs of any strides count for what they hold; caches, used in place, are refused."""
    fresh_seed()
    x, weight = torch.randn(24, 6).t(), torch.randn(48)[::2]
    assert_close(
        kernels.rms_norm(x, weight, 1e-6), reference.rms_norm(x, weight, 1e-6), x.dtype, 16
    )
    assert_close(kernels.silu_and_mul(x, x), reference.silu_and_mul(x, x), x.dtype, 32)
    heads, angle = torch.randn(8, 3, 6).permute(2, 1, 0), torch.randn(8, 6).t()
    expected = reference.rotary_embedding(heads, angle, angle)
    assert_close(kernels.rotary_embedding(heads, angle, angle), expected, x.dtype, 8)
    cache = torch.zeros(2, 8, 3, 4).transpose(1, 3)
    with pytest.raises(ValueError, match="key_cache: the elements of a head"):
        kernels.write_kv(heads, heads, cache, cache, torch.arange(6))


def check_every_op_has_a_reference_of_its_signature() -> None:
    def parameters(module: ModuleType, op: str) -> list[tuple[str, object]]:
        found = inspect.signature(getattr(module, op)).parameters.values()
        return [(parameter.name, parameter.default) for parameter in found]

    for op in kernels.__all__:
        assert parameters(kernels, op) == parameters(reference, op), op


#: Each width and each dtype with both formats.
QUANTIZED = [
    (head_dim, cache_dtype, DTYPES[(index + format) % len(DTYPES)])
    for index, head_dim in enumerate([10, 64, 70])
    for format, cache_dtype in enumerate([torch.int8, torch.float8_e4m3fn])
]


@pytest.mark.parametrize(("head_dim", "cache_dtype", "dtype"), QUANTIZED, ids=str)
def check_quantized_cache_writes(
    head_dim: int, cache_dtype: torch.dtype, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write the reference's bytes, and only into their slots."""
    chance = random.Random(fresh_seed())
    block_size, heads, tokens = chance.choice([3, 16]), chance.choice([1, 3]), 20
    slots = torch.randperm(block_size * 9)[:tokens]
    key = (torch.randn(tokens, heads, head_dim) * torch.logspace(-4, 3, tokens)[:, None, None]).to(
        dtype
    )
    value, query = (torch.randn(tokens, heads, head_dim).to(dtype) for _ in range(2))
    key[0], key[1, 0, 3], key[2, 0, 0] = 0, torch.nan, torch.inf
    cos, sin = (torch.randn(tokens, head_dim).to(dtype) for _ in range(2))
    with guarded_outputs(monkeypatch) as guarded:
        shape = (9, block_size, heads, head_width(cache_dtype, head_dim))
        caches = [guarded.place(torch.zeros(shape, dtype=cache_dtype)) for _ in range(4)]
        kernels.write_kv(key, value, *caches[:2], slots)
        turned = kernels.rotary_write_kv(query, key, value, cos, sin, *caches[2:], slots)
        rotated = kernels.rotary_embedding(key, cos, sin)
    assert_close(turned, reference.rotary_embedding(query.float(), cos, sin), dtype, 8)
    expected = [torch.zeros(shape, dtype=cache_dtype) for _ in range(4)]
    reference.write_kv(key, value, *expected[:2], slots)
    reference.write_kv(rotated, value, *expected[2:], slots)
    for cache, wanted in zip(caches, expected, strict=True):
        assert torch.equal(scales_of(cache).isnan(), scales_of(wanted).isnan())
        written = scales_of(wanted).isfinite()
        assert torch.equal(cache[written].view(torch.uint8), wanted[written].view(torch.uint8))
        assert not cache[~written][:, :head_dim].view(torch.uint8).any()
