"""Paged attention against the reference in float32, over random ragged batches."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch
from octavo.kernels import reference
from octavo.kernels import triton as kernels
from octavo.kernels.kv_format import head_width, is_quantized
from octavo.kernels.ops import AttentionMetadata
from octavo.kernels.reference.kv_cache import quantize, read_heads
from torch import Tensor
from triton_interpreted.support import DTYPES, Guarded, assert_close, fresh_seed, guarded_outputs


@dataclass(frozen=True)
class Heads:
    query: int
    kv: int
    dim: int


@dataclass(frozen=True)
class Batch:
    """Lengths of sequences, and tensors that hold them. Whatever of the cache belongs to no
    sequence is NaN."""

    query: Tensor
    key_cache: Tensor
    value_cache: Tensor
    metadata: AttentionMetadata


def make_batch(
    guarded: Guarded,
    chance: random.Random,
    lengths: list[tuple[int, int]],
    heads: Heads,
    dtype: torch.dtype,
    runs: bool = False,
    cache_dtype: torch.dtype | None = None,
) -> Batch:
    """lengths: new tokens and context of each sequence."""
    stored = cache_dtype or dtype
    block_size = chance.choice([3, 8, 16])
    counts = [-(-context // block_size) for _, context in lengths]
    blocks = chance.sample(range(sum(counts) + 3), sum(counts))
    table = torch.zeros(len(lengths), max(counts) + 1, dtype=torch.int64)
    shape = (sum(counts) + 3, block_size, heads.kv, head_width(stored, heads.dim))
    caches = [guarded.empty(shape, stored) for _ in range(2)]
    if stored is torch.int8:
        for cache in caches:  # so that scales are NaN
            cache.fill_(-1)
    for row, (count, (_, context)) in enumerate(zip(counts, lengths, strict=True)):
        ids, blocks = blocks[:count], blocks[count:]
        table[row, :count] = torch.tensor(ids)
        for place in range(context):
            block, inner = ids[place // block_size], place % block_size
            for cache in caches:
                new = torch.randn(heads.kv, heads.dim)
                cache[block, inner] = (
                    quantize(new, stored) if is_quantized(stored) else new.to(stored)
                )
    new = [length for length, _ in lengths]
    start_loc = torch.tensor([0, *new]).cumsum(0)
    query = guarded.place(torch.randn(sum(new), heads.query, heads.dim).to(dtype))
    metadata = AttentionMetadata(
        query_start_loc=guarded.place(start_loc),
        seq_lens=guarded.place(torch.tensor([context for _, context in lengths])),
        block_table=guarded.place(table),
        slot_mapping=torch.zeros(sum(new), dtype=torch.int64),
        query_lens=tuple(new),
        context_lens=tuple(context for _, context in lengths),
        bidirectional=guarded.place(random_runs(chance, lengths)) if runs else None,
    )
    return Batch(query, *caches, metadata)


def random_runs(chance: random.Random, lengths: list[tuple[int, int]]) -> Tensor:
    """Each sequence's positions cut into runs; some of the first begin in the cache."""
    rows = []
    for new, context in lengths:
        run, position = (chance.randint(0, context - new), context - new), context - new
        while position < context:
            if position >= run[1]:
                run = (min(run[1], position), min(context, position + chance.randint(1, 9)))
                run = (run[0] if chance.random() < 0.3 else position, run[1])
            rows.append(run)
            position += 1
    return torch.tensor(rows)


def attend_both(batch: Batch, window: int, softcap: float) -> tuple[Tensor, Tensor]:
    scale = 1.3 * batch.query.shape[-1] ** -0.5
    options = (batch.metadata, scale, window, softcap)
    actual = kernels.paged_attention(batch.query, batch.key_cache, batch.value_cache, *options)
    # The reference multiplies what it does not see by nothing, so it may not be NaN.
    caches, head_dim = (batch.key_cache, batch.value_cache), batch.query.shape[-1]
    keys, values = (read_heads(x, head_dim, torch.float32).nan_to_num() for x in caches)
    return actual, reference.paged_attention(batch.query.float(), keys, values, *options)


def random_lengths(chance: random.Random) -> list[tuple[int, int]]:
    """A mix of decodes, whole prompts and chunks behind a context."""
    lengths = []
    for kind in [*"dpc", *chance.choices("dpc", k=chance.randint(0, 2))]:
        new = 1 if kind == "d" else chance.randint(1, 20)
        lengths.append((new, new + (0 if kind == "p" else chance.randint(0, 40))))
    chance.shuffle(lengths)
    return lengths


SHAPES = [Heads(1, 1, 16), Heads(9, 3, 64), Heads(6, 2, 20), Heads(7, 1, 72), Heads(8, 1, 128)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", SHAPES, ids=str)
def check_random_batches(heads: Heads, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(fresh_seed())
    window, softcap = chance.choice([0, 0, 1, 7, 50]), chance.choice([0.0, 0.0, 4.0])
    with guarded_outputs(monkeypatch) as guarded:
        lengths, runs = random_lengths(chance), chance.random() < 0.4
        batch = make_batch(guarded, chance, lengths, heads, dtype, runs)
        actual, expected = attend_both(batch, window, softcap)
    # In float32 a score is rounded some dozen times, as much as its weight is off then.
    assert_close(actual, expected, dtype, 256 if dtype is torch.float32 else 8)


#: Each format with each dtype, and each shape with both formats.
QUANTIZED = [
    (heads, cache_dtype, DTYPES[(shape + format) % len(DTYPES)])
    for shape, heads in enumerate([*SHAPES, Heads(4, 2, 10)])
    for format, cache_dtype in enumerate([torch.int8, torch.float8_e4m3fn])
]


@pytest.mark.parametrize(("heads", "cache_dtype", "dtype"), QUANTIZED, ids=str)
def check_quantized_caches(
    heads: Heads, cache_dtype: torch.dtype, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(fresh_seed())
    window, softcap = chance.choice([0, 0, 7]), chance.choice([0.0, 4.0])
    with guarded_outputs(monkeypatch) as guarded:
        lengths, runs = [*random_lengths(chance), (1, 300)], chance.random() < 0.4
        batch = make_batch(guarded, chance, lengths, heads, dtype, runs, cache_dtype)
        actual, expected = attend_both(batch, window, softcap)
    assert_close(actual, expected, dtype, 256 if dtype is torch.float32 else 8)


@pytest.mark.parametrize("window", [0, 1, 255, 300])
def check_long_decodes_are_split(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(fresh_seed())
    lengths = [(1, 1), (1, 256), (1, 257), (3, 40), (1, chance.randint(258, 700))]
    with guarded_outputs(monkeypatch) as guarded:
        batch = make_batch(guarded, chance, lengths, Heads(4, 2, 24), torch.float16)
        actual, expected = attend_both(batch, window, 0.0)
    assert_close(actual, expected, torch.float16, 8)


@pytest.mark.parametrize("window", [0, 30])
def check_split_decodes_with_runs(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last token of a run that began far back sees all of it, whatever the window."""
    chance = random.Random(fresh_seed())
    with guarded_outputs(monkeypatch) as guarded:
        lengths = [(1, 600), (1, 20)]
        batch = make_batch(guarded, chance, lengths, Heads(2, 1, 16), torch.float16, True)
        batch.metadata.bidirectional[0] = torch.tensor([chance.randint(0, 500), 600])
        actual, expected = attend_both(batch, window, 0.0)
    assert_close(actual, expected, torch.float16, 8)


def check_extreme_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores in the thousands neither overflow nor leave a row without weight."""
    chance = random.Random(fresh_seed())
    with guarded_outputs(monkeypatch) as guarded:
        batch = make_batch(guarded, chance, [(20, 30), (1, 300)], Heads(2, 1, 16), torch.float32)
        batch.query.mul_(1000)
        actual, expected = attend_both(batch, 0, 0.0)
    # A score of 10^4 is itself rounded by 10^-3.
    assert (actual - expected).abs().max() < 0.02


def check_a_sequence_does_not_depend_on_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(fresh_seed())
    with guarded_outputs(monkeypatch) as guarded:
        lengths = [(1, 300), (1, 700), (9, 40)]
        batch = make_batch(guarded, chance, lengths, Heads(4, 2, 16), torch.bfloat16)
        together, _ = attend_both(batch, 0, 0.0)
        metadata = batch.metadata
        alone = AttentionMetadata(
            torch.tensor([0, 1]),
            metadata.seq_lens[:1],
            metadata.block_table[:1],
            metadata.slot_mapping[:1],
            (1,),
            (300,),
        )
        single, _ = attend_both(
            Batch(batch.query[:1], batch.key_cache, batch.value_cache, alone), 0, 0.0
        )
    assert torch.equal(together[:1], single)
