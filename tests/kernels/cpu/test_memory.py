"""Operations write all of their outputs and nothing around them, and encoders read nothing around
their inputs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from cpu_kernels.batches import Shape, random_cache, random_metadata
from cpu_kernels.comparing import DTYPES, assert_same_bits
from cpu_kernels.encoders import random_encoder
from cpu_kernels.weights import GROUPED_KINDS, KINDS, random_weight
from octavo.kernels.cpu import ops
from octavo.kernels.cpu.encoder import CpuEncoder
from octavo.kernels.cpu.library import AttentionStruct
from octavo.kernels.cpu.metadata import batch_struct
from octavo.kernels.cpu.packing import pack
from torch import Tensor

pytestmark = pytest.mark.usefixtures("level")
BAND = 96


class Guarded:
    """Outputs that begin as not-a-number, between bands of a pattern."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def output(self, like: Tensor) -> Tensor:
        buffer = torch.full((like.numel() + 2 * BAND,), 77, dtype=like.dtype)
        self._buffers.append(buffer)
        return buffer[BAND:-BAND].fill_(torch.nan).view(like.shape)

    def check(self) -> None:
        for buffer in self._buffers:
            band = torch.full((BAND,), 77, dtype=buffer.dtype)
            assert_same_bits(buffer[:BAND], band)
            assert_same_bits(buffer[-BAND:], band)
            assert not buffer.isnan().any()


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    guards = Guarded()
    yield guards
    guards.check()


def library() -> Any:
    return ops._library


@pytest.mark.parametrize("kind", [*KINDS, *GROUPED_KINDS])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_linear(guarded: Guarded, kind: Any, dtype: torch.dtype) -> None:
    for rows, n in ((1, 1), (3, 17), (30, 31), (33, 100), (100, 15)):
        packed = pack([random_weight(kind, n, 64)], dtype)
        x = torch.randn(rows, 64).to(dtype)
        for out_dtype in (dtype, torch.float32):
            expected = packed(x, out_dtype)
            out = guarded.output(expected)
            row_args = (x.data_ptr(), 64, rows, out.data_ptr())
            library().octavo_linear(ctypes.byref(packed.struct), *row_args, bf16(x), bf16(out), 2)
            assert_same_bits(out, expected)


@pytest.mark.parametrize("cache_dtype", [*DTYPES, torch.int8, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention(guarded: Guarded, dtype: torch.dtype, cache_dtype: torch.dtype) -> None:
    for shape in (Shape(3, 1, 40, 5), Shape(4, 2, 72, 16), Shape(2, 2, 8, 1)):
        metadata, blocks = random_metadata([(200, 1), (0, 7), (64, 2)], shape.block_size)
        keys, values = random_cache(metadata, blocks, shape, cache_dtype)
        query = torch.randn(10, shape.heads, shape.dim).to(dtype)
        out = guarded.output(query)
        plan = AttentionStruct(shape.heads, shape.kv_heads, shape.dim, 0.1, 0.0, 0, bf16(query))
        batch = batch_struct(metadata, keys)
        pointers = [t.data_ptr() for t in (query, keys, values, out)]
        library().octavo_paged_attention(
            ctypes.byref(batch), ctypes.byref(plan), *pointers, bf16(query), 2
        )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_elementwise(guarded: Guarded, dtype: torch.dtype) -> None:
    for rows, n in ((1, 1), (3, 15), (5, 17), (2, 1025)):
        x, weight = torch.randn(rows, n).to(dtype), torch.randn(n)
        out, summed = guarded.output(x), guarded.output(x)
        ends = (bf16(x), 2)
        library().octavo_norm(
            x.data_ptr(), x.data_ptr(), weight.data_ptr(), 1e-5, rows, n,
            out.data_ptr(), summed.data_ptr(), *ends,
        )  # fmt: skip
        gated = guarded.output(x)
        library().octavo_gate(x.data_ptr(), x.data_ptr(), x.numel(), 0, gated.data_ptr(), *ends)
    for heads, dim, width in ((1, 2, 2), (3, 40, 20), (2, 66, 66)):
        x, table = torch.randn(5, heads, dim).to(dtype), torch.randn(5, width)
        out = guarded.output(x)
        tables = (table.data_ptr(), table.data_ptr())
        library().octavo_rotate(
            x.data_ptr(), *tables, 5, heads, dim, width, out.data_ptr(), bf16(x), 2
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_encoder(
    guarded: Guarded, kind: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for generation, hidden, heads in ((1, 64, 4), (2, 128, 16), (3, 192, 3)):
        weights = random_encoder(
            hidden, heads, "silu", dtype, [(kind, kind)] * 2, generation=generation
        )
        prepared, lengths = CpuEncoder(weights), [33, 0, 1, 7]
        x = torch.randn(41, hidden).to(dtype)
        angles = torch.randn(41, hidden // heads)
        expected = prepared(x, lengths, 0, 2, (angles.cos(), angles.sin()))
        rotary = (between_nan(angles.cos()), between_nan(angles.sin()))
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty_like", guarded.output)
            actual = prepared(between_nan(x), lengths, 0, 2, rotary)
        assert_same_bits(actual, expected)


def between_nan(rows: Tensor) -> Tensor:
    """A copy of rows, with what would spoil every sum before and behind it."""
    band = torch.full_like(rows[:2], torch.nan)
    return torch.cat((band, rows, band))[2:-2]


def bf16(x: Tensor) -> int:
    return int(x.dtype is torch.bfloat16)
