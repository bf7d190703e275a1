"""What doesn't fit together, as from a plugin, is refused by name before memory is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from cpu_kernels.batches import random_cache, random_metadata
from cpu_kernels.decoders import PLAIN, random_decoder
from cpu_kernels.weights import random_weight
from octavo.kernels.cpu import ops
from octavo.kernels.cpu.decoder import decoder
from octavo.kernels.cpu.packing import pack
from octavo.kernels.cpu.sampling import mask_tokens, sample_top_k_top_p
from octavo.kernels.ops import AttentionMetadata
from torch import Tensor

pytestmark = pytest.mark.usefixtures("level")
SEQUENCES = [(20, 1), (0, 7)]
FAR = 10**12


def changed(tensor: Tensor, place: Any, value: int) -> Tensor:
    tensor = tensor.clone()
    tensor[place] = value
    return tensor


#: What a plugin may get wrong of a batch -> how the error names it.
WRONG: dict[str, tuple[Any, str]] = {
    "slot too large": (lambda m: {"slot_mapping": changed(m.slot_mapping, 0, FAR)}, "slot_mapping"),
    "slot below 0": (lambda m: {"slot_mapping": changed(m.slot_mapping, 2, -1)}, "slot_mapping"),
    "block too large": (lambda m: {"block_table": changed(m.block_table, (0, 1), FAR)}, "table"),
    "block below 0": (lambda m: {"block_table": changed(m.block_table, (1, 0), -5)}, "block_table"),
    "table too narrow": (lambda m: {"block_table": m.block_table[:, :1].contiguous()}, "seq_lens"),
    "table too short": (lambda m: {"block_table": m.block_table[:1]}, "block_table"),
    "table of int32": (lambda m: {"block_table": m.block_table.int()}, "block_table"),
    "longer than the table": (lambda m: {"seq_lens": changed(m.seq_lens, 0, FAR)}, "seq_lens"),
    "shorter than its tokens": (lambda m: {"seq_lens": changed(m.seq_lens, 1, 2)}, "seq_lens"),
    "lengths missing": (lambda m: {"seq_lens": m.seq_lens[:1]}, "seq_lens"),
    "starts go down": (
        lambda m: {"query_start_loc": changed(m.query_start_loc, 1, 9)}, "query_start_loc",
    ),
    "starts end late": (
        lambda m: {"query_start_loc": changed(m.query_start_loc, 2, 9)}, "query_start_loc",
    ),
    "starts missing": (lambda m: {"query_start_loc": m.query_start_loc[:2]}, "query_start_loc"),
    "runs missing": (lambda m: {"bidirectional": torch.zeros(1, 2).long()}, "bidirectional"),
}  # fmt: skip


@pytest.fixture
def metadata() -> tuple[AttentionMetadata, int]:
    return random_metadata(SEQUENCES, PLAIN.shape.block_size)


@pytest.mark.parametrize("wrong", WRONG)
def test_batches(wrong: str, metadata: tuple[AttentionMetadata, int]) -> None:
    good, blocks = metadata
    change, name = WRONG[wrong]
    bad = replace(good, **change(good))
    prepared = decoder(random_decoder(PLAIN, torch.float32))
    assert prepared is not None
    caches = [random_cache(good, blocks, PLAIN.shape, torch.float32) for _ in PLAIN.kinds]
    before = [keys.clone() for keys, _ in caches]
    rotary = [(torch.ones(8, 16), torch.zeros(8, 16))] * 2
    embeds = torch.randn(8, 64)
    with pytest.raises(ValueError, match=name):
        prepared(embeds, rotary, caches, bad)
    with pytest.raises(ValueError, match=name):
        ops.paged_attention(torch.randn(8, 4, 16), *caches[0], bad, 0.25)
    for (keys, _), old in zip(caches, before, strict=True):
        assert torch.equal(keys.isnan(), old.isnan())
    # The same decoder goes on with what is right.
    assert prepared(embeds, rotary, caches, good).isfinite().all()


def test_decoder_inputs(metadata: tuple[AttentionMetadata, int]) -> None:
    good, blocks = metadata
    prepared = decoder(random_decoder(PLAIN, torch.float32))
    assert prepared is not None
    caches = [random_cache(good, blocks, PLAIN.shape, torch.float32) for _ in PLAIN.kinds]
    table = (torch.ones(8, 16), torch.zeros(8, 16))
    embeds = torch.randn(8, 64)
    wide = [random_cache(good, blocks, replace(PLAIN.shape, dim=32), torch.float32)] * 2
    for arguments, name in (
        ((embeds[:7], [table] * 2, caches, good), "embeds"),
        ((embeds[:, :32], [table] * 2, caches, good), "embeds"),
        ((embeds.double(), [table] * 2, caches, good), "embeds"),
        ((embeds, [table], caches, good), "rotary"),
        ((embeds, [(table[0][:5], table[1][:5])] * 2, caches, good), "cos"),
        ((embeds, [(torch.ones(8, 18), torch.ones(8, 18))] * 2, caches, good), "cos"),
        ((embeds, [(table[0], table[1][:5])] * 2, caches, good), "sin"),
        ((embeds, [table] * 2, caches[:1], good), "kv_cache"),
        ((embeds, [table] * 2, wide, good), "key_cache"),
        (
            (embeds, [table] * 2, caches, replace(good, output_rows=torch.tensor([0, 8]))),
            "output_rows",
        ),
        (
            (embeds, [table] * 2, caches, replace(good, output_rows=torch.tensor([3, 1]))),
            "output_rows",
        ),
    ):
        with pytest.raises(ValueError, match=name):
            prepared(*arguments)


def test_writes_to_the_cache(metadata: tuple[AttentionMetadata, int]) -> None:
    good, blocks = metadata
    keys, values = random_cache(good, blocks, PLAIN.shape, torch.float32)
    before = keys.clone()
    new = torch.randn(8, 2, 16)
    # Of the heads' width, without a place for their scales.
    narrow, half = torch.zeros_like(keys, dtype=torch.int8), keys.half()
    slots = good.slot_mapping
    for arguments, name in (
        ((new, new, keys, values, changed(slots, 7, FAR)), "slot_mapping"),
        ((new, new, keys, values, changed(slots, 7, -1)), "slot_mapping"),
        ((new, new, keys, values, slots[:5]), "slot_mapping"),
        ((new, new[:, :1], keys, values, slots), "value"),
        ((new, new, keys, values[1:], slots), "key_cache and value_cache"),
        ((new, new, narrow, narrow, slots), r"key_cache is .* instead of .* 2, 20"),
        ((new, new, half, half, slots), "key_cache is torch.float16"),
    ):
        with pytest.raises(ValueError, match=name):
            ops.write_kv(*arguments)
        assert torch.equal(keys.nan_to_num(), before.nan_to_num())


def test_single_operations() -> None:
    x = torch.randn(5, 64)
    heads = torch.randn(5, 2, 16)
    rows, bits = torch.arange(2), torch.zeros(2, 2, dtype=torch.int32)
    packed = pack([random_weight("float32", 33, 64)], torch.float32)
    for call, name in (
        (lambda: ops.rms_norm(x, torch.ones(63), 1e-6), "weight"),
        (lambda: ops.rms_norm(x.half(), torch.ones(64), 1e-6), "float16"),
        (lambda: ops.add_rms_norm(x, x[:4], torch.ones(64), 1e-6), "residual"),
        (lambda: ops.add_rms_norm(x, x.bfloat16(), torch.ones(64), 1e-6), "residual"),
        (lambda: ops.silu_and_mul(x, x[:, :60]), "up"),
        (lambda: ops.gelu_tanh_and_mul(x, x.bfloat16()), "up"),
        (lambda: ops.rotary_embedding(heads, torch.ones(4, 16), torch.ones(4, 16)), "cos"),
        (lambda: ops.rotary_embedding(heads, torch.ones(5, 18), torch.ones(5, 18)), "cos"),
        (lambda: packed(x[:, :63]), "inputs"),
        (lambda: packed(x.half()), "float16"),
        (
            lambda: sample_top_k_top_p(
                x, torch.ones(4), torch.zeros(5).long(), torch.ones(5), torch.rand(5)
            ),
            "temperature",
        ),
        (lambda: mask_tokens(x.double(), rows, bits), "logits"),
        (lambda: mask_tokens(x, rows[:1], bits), "rows"),
        (lambda: mask_tokens(x, rows + 4, bits), "rows"),
        (lambda: mask_tokens(x, rows, bits.long()), "bitmask"),
        (lambda: mask_tokens(x, rows, bits[:, :1].contiguous()), "bitmask"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
