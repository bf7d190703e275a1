"""Paged attention against the reference in float64."""

from __future__ import annotations

import random

import pytest
import torch
from cpu_kernels.batches import Shape, exact_heads, random_cache, random_metadata
from cpu_kernels.comparing import assert_near, assert_within
from cpu_kernels.levels import Level
from octavo.kernels import reference
from octavo.kernels.cpu import ops
from octavo.kernels.dtypes import dtype_name

SHAPES = [
    Shape(heads=1, kv_heads=1, dim=8, block_size=1),
    Shape(heads=4, kv_heads=2, dim=16, block_size=5),
    Shape(heads=3, kv_heads=1, dim=40, block_size=16),
    Shape(heads=6, kv_heads=3, dim=64, block_size=32),
    Shape(heads=2, kv_heads=2, dim=72, block_size=16),
    Shape(heads=8, kv_heads=2, dim=80, block_size=7),
    Shape(heads=2, kv_heads=1, dim=128, block_size=16),
    Shape(heads=100, kv_heads=1, dim=10, block_size=3),
]
#: Tokens before a step and in it: decodes, prompts, chunks, and lengths around a tile of 64 keys.
BATCHES = [
    [(0, 1)],
    [(62, 1), (63, 1), (64, 1), (65, 1), (127, 1), (128, 1), (0, 1)],
    [(300, 1)],
    [(0, 63), (0, 64), (0, 65)],
    [(70, 7), (5, 1), (0, 33), (129, 1), (64, 64)],
    [(1, 2), (30, 97)],
]
DTYPES = [
    (torch.float32, torch.float32),
    (torch.float32, torch.bfloat16),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
    (torch.float32, torch.int8),
    (torch.bfloat16, torch.int8),
    (torch.float32, torch.float8_e4m3fn),
    (torch.bfloat16, torch.float8_e4m3fn),
]


def names_of(dtypes: tuple[torch.dtype, torch.dtype]) -> str:
    return "-".join(map(dtype_name, dtypes))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtypes", DTYPES, ids=names_of)
def test_attention(level: Level, shape: Shape, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    for sequences in random.sample(BATCHES, 2):
        check(level, shape, sequences, dtypes)


@pytest.mark.parametrize("window", [0, 1, 5, 64, 100])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_tokens_see(level: Level, window: int, softcap: float, bidirectional: bool) -> None:
    shape, dtypes = random.choice(SHAPES[1:]), random.choice(DTYPES)
    sequences = [*random.choice(BATCHES), (random.randrange(200), random.randint(1, 70))]
    check(level, shape, sequences, dtypes, window, softcap, bidirectional)


def check(
    level: Level,
    shape: Shape,
    sequences: list[tuple[int, int]],
    dtypes: tuple[torch.dtype, torch.dtype],
    window: int = 0,
    softcap: float = 0.0,
    bidirectional: bool = False,
) -> None:
    metadata, blocks = random_metadata(sequences, shape.block_size, bidirectional=bidirectional)
    keys, values = random_cache(metadata, blocks, shape, dtypes[1])
    query = torch.randn(len(metadata.slot_mapping), shape.heads, shape.dim).to(dtypes[0])
    # Scores of some size, so that the largest one changes from tile to tile.
    scale = 3 * shape.dim**-0.5
    actual = ops.paged_attention(query, keys, values, metadata, scale, window, softcap)
    exact = reference.paged_attention(
        query.double(),
        exact_heads(keys, shape.dim),
        exact_heads(values, shape.dim),
        metadata,
        scale,
        window,
        softcap,
    )
    if level.bf16_products and dtypes[0] is torch.bfloat16 and dtypes[1] is not torch.float32:
        assert_near(actual, exact, 2e-2)
    else:
        assert_within(actual, exact, 5e-5)


def test_sequences_without_new_tokens(level: Level) -> None:
    for sequences in ([(40, 0), (3, 1), (70, 0), (20, 9)], [(30, 9), (0, 0), (500, 1), (5, 0)]):
        for bidirectional in (False, True):
            check(level, SHAPES[1], sequences, DTYPES[0], bidirectional=bidirectional)


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_long_decodes_are_split_among_threads(level: Level, threads: int) -> None:
    torch.set_num_threads(threads)
    for window in (0, 20):
        check(level, SHAPES[1], [(500, 1)], DTYPES[0], window)
        check(level, SHAPES[5], [(90, 1), (333, 1), (7, 2)], DTYPES[0], window)


@pytest.mark.usefixtures("level")
def test_no_tokens_and_large_scores() -> None:
    shape = SHAPES[1]
    metadata, blocks = random_metadata([(80, 3), (200, 1)], shape.block_size)
    keys, values = random_cache(metadata, blocks, shape, torch.float32)
    assert ops.paged_attention(torch.empty(0, 4, 16), keys, values, metadata, 1.0).shape[0] == 0
    # The largest score takes all.
    query = torch.randn(4, 4, 16) * 1e4
    actual = ops.paged_attention(query, keys, values, metadata, 1.0)
    exact = reference.paged_attention(
        query.double(), keys.double().nan_to_num(), values.double().nan_to_num(), metadata, 1.0
    )
    assert_within(actual, exact, 0.05)
