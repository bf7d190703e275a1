"""Quantised keys and values: the reference against exact formulas, and which kernels take them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from octavo.kernels import reference
from octavo.kernels.dispatch import resolve_kernels
from octavo.kernels.kv_format import head_width
from octavo.kernels.ops import KV_OPS, AttentionMetadata
from octavo.kernels.reference.kv_cache import quantize, read_heads
from octavo.kernels.spec import KernelError, KernelSpec
from torch import Tensor

FORMATS = (torch.int8, torch.float8_e4m3fn)


def codes_of(dtype: torch.dtype) -> Tensor:
    """All numbers that a code may stand for, in order."""
    if dtype is torch.int8:
        return torch.arange(-127, 128).double()
    sizes = [
        math.ldexp(fraction, -9) if not exponent else math.ldexp(8 + fraction, exponent - 10)
        for exponent in range(16)
        for fraction in range(8)
        if (exponent, fraction) != (15, 7)  # not-a-number
    ]
    return torch.tensor(sorted({*sizes, *(-size for size in sizes)}), dtype=torch.float64)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("dim", [1, 6, 64])
def test_every_value_gets_the_nearest_code(dim: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    heads = torch.randn(200, 2, dim) * torch.logspace(-6, 6, 200)[:, None, None]
    rows = quantize(heads, dtype)
    assert rows.dtype == dtype
    assert rows.shape == (200, 2, head_width(dtype, dim))
    codes = codes_of(dtype)
    exact, top = heads.double(), heads.double().abs().amax(-1, keepdim=True)
    scale = top / codes.max()
    assert torch.equal(rows[..., :dim].double().abs().amax(-1), codes.max().expand(200, 2))
    nearest = (exact[..., None] - scale[..., None] * codes).abs().amin(-1)
    error = (read_heads(rows, dim, torch.float64) - exact).abs()
    assert bool((error <= nearest + top * 3e-7).all())


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_what_has_no_scale(dtype: torch.dtype) -> None:
    heads = torch.zeros(4, 1, 8)
    heads[1, 0, 3], heads[2, 0, 0], heads[3] = torch.nan, -torch.inf, 1e-38
    read = read_heads(quantize(heads, dtype), 8, torch.float32)
    assert torch.equal(read[0], heads[0])
    assert read[1:3].isnan().all()
    assert read[3].abs().max() <= 1e-38


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("softcap", [0.0, 3.0])
def test_attention_is_softmax_over_what_was_stored(softcap: float, dtype: torch.dtype) -> None:
    """Of a prompt behind five tokens of context, two query heads to a key head."""
    torch.manual_seed(1)
    keys, values = torch.randn(2, 12, 2, 10).unbind()
    query = torch.randn(7, 4, 10).double()
    caches = torch.zeros(2, 5, 4, 2, head_width(dtype, 10), dtype=dtype)
    table = torch.tensor([[3, 0, 4]])
    slots = table[0, torch.arange(12) // 4] * 4 + torch.arange(12) % 4
    reference.write_kv(keys, values, *caches, slots)
    metadata = AttentionMetadata(
        torch.tensor([0, 7]), torch.tensor([12]), table, slots[5:], (7,), (12,)
    )
    actual = reference.paged_attention(query, *caches, metadata, 0.4, softcap=softcap)
    stored = [quantize(heads, dtype) for heads in (keys, values)]
    keys, values = (
        rows[..., :10].double() * rows[..., 12:].view(torch.float32).double() for rows in stored
    )
    error = 1e-6 if softcap else 1e-12  # capped scores are float32
    for token in range(7):
        for head in range(4):
            seen = slice(0, 6 + token)
            scores = keys[seen, head // 2] @ query[token, head] * 0.4
            scores = torch.tanh(scores / softcap) * softcap if softcap else scores
            expected = scores.softmax(0) @ values[seen, head // 2]
            assert torch.allclose(actual[token, head], expected, rtol=0, atol=error)


def plugin_kernel(quantized_kv: tuple[str, ...]) -> KernelSpec:
    return KernelSpec(
        "paged_attention",
        "mine",
        f"{__name__}:my_attention",
        priority=99,
        quantized_kv=quantized_kv,
    )


def my_attention(*arguments: Any) -> None:
    pass


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn"])
def test_kernels_that_do_not_take_a_quantised_cache_are_passed_over(
    dtype: str, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    resolve: Callable[..., Any] = resolve_kernels
    plain = resolve([plugin_kernel(())], device, "float32")
    assert plain.backends["paged_attention"] == "mine"
    table = resolve([plugin_kernel(())], device, "float32", dtype)
    usual = resolve([], device, "float32").backends
    assert {op: table.backends[op] for op in KV_OPS} == {op: usual[op] for op in KV_OPS}
    assert f"paged_attention/mine does not take a KV cache of {dtype}" in caplog.text
    able = resolve([plugin_kernel((dtype,))], device, "float32", dtype)
    assert able.backends["paged_attention"] == "mine"


def test_one_that_is_asked_for_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTAVO_KERNELS", "paged_attention=mine")
    with pytest.raises(KernelError, match="paged_attention/mine does not take a KV cache of int8"):
        resolve_kernels([plugin_kernel(())], quantized_kv="int8")
