"""Settings and expectations that the tests of all sampling kernels share."""

from __future__ import annotations

import itertools
import random
import struct

import torch
from octavo.kernels import reference
from octavo.kernels.ops import MaskTokens
from torch import Tensor


def settings(chance: random.Random, rows: int, vocab_size: int) -> tuple[Tensor, ...]:
    """temperature, top_k, top_p and uniform, each off, extreme or random."""

    def choose(*values: float) -> Tensor:
        return torch.tensor([chance.choice(values) for _ in range(rows)])

    temperature = choose(0.0, 0.01, 0.7, 1.0, 1.3, 50.0)
    top_k = choose(0, 0, 1, 2, 5, vocab_size - 1, vocab_size, vocab_size + 7).long()
    top_p = choose(0.0, 1e-6, 0.1, 0.5, 0.9, 0.999, 1.0, 1.0)
    uniform = torch.rand(rows)
    uniform[0], uniform[-1] = 0.0, 1 - 2**-24
    return temperature, top_k, top_p, uniform


def assert_drawn(logits: Tensor, options: tuple[Tensor, ...], tokens: Tensor) -> None:
    """Equal to the reference, or between what it draws with top_p and uniform moved by a few
    roundings of float32; few tokens may need this excuse, such as those of the extreme uniforms."""
    temperature, top_k, top_p, uniform = (
        x.double() if x.is_floating_point() else x for x in options
    )
    exact = reference.sample_top_k_top_p(logits.double(), temperature, top_k, top_p, uniform)
    near = exact == tokens
    for nudge in (-3e-6, 0.0, 3e-6):
        nudged_p = torch.where(top_p < 1, (top_p + nudge).clamp(0, 1), top_p)
        low, high = (
            reference.sample_top_k_top_p(
                logits.double(), temperature, top_k, nudged_p, (uniform + shift).clamp(0, 1 - 1e-12)
            )
            for shift in (-3e-6, 3e-6)
        )
        near |= (low <= tokens) & (tokens <= high)
    assert near.all()
    assert (tokens != exact).sum() <= 2


def assert_masks(mask_tokens: MaskTokens, logits: Tensor, chance: random.Random) -> None:
    """Change logits [n, vocab_size], of which each row after the first has a mask: one of random
    tokens, then one of all and one of none, and so on."""
    count, vocab_size = logits.shape
    before = logits.clone()
    rows = chance.sample(range(1, count), count - 1)
    allowed = {
        row: [kind > 0 and (kind == 1 or chance.random() < 0.5) for _ in range(vocab_size)]
        for row, kind in zip(rows, itertools.cycle((2, 1, 0)), strict=False)
    }
    words = -(-vocab_size // 32) + 1
    bitmask = torch.tensor([_words(allowed[row], words) for row in rows], dtype=torch.int32)
    mask_tokens(logits, torch.tensor(rows), bitmask)
    for row in range(count):
        kept = torch.tensor(allowed.get(row, [True] * vocab_size))
        assert torch.equal(logits[row], before[row].masked_fill(~kept, float("-inf")))


def _words(bits: list[bool], count: int) -> list[int]:
    """As signed integers of 32 bits, the first bit the lowest."""
    number = sum(bit << index for index, bit in enumerate(bits))
    return list(struct.unpack(f"<{count}i", number.to_bytes(4 * count, "little")))
