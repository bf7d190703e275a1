"""Sampling against the reference in float64, with ties, masked tokens and extreme settings."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from octavo.kernels import reference
from octavo.kernels import triton as kernels
from torch import Tensor
from triton_interpreted.support import fresh_seed, guarded_outputs


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
    """Equal to the reference, or to what it draws with top_p and uniform moved by a few roundings
    of float32; few tokens may need this excuse."""
    temperature, top_k, top_p, uniform = (
        x.double() if x.is_floating_point() else x for x in options
    )
    exact = reference.sample_top_k_top_p(logits.double(), temperature, top_k, top_p, uniform)
    near = exact == tokens
    for nudge, shift in itertools.product((-3e-6, 0.0, 3e-6), repeat=2):
        nudged_p = torch.where(top_p < 1, (top_p + nudge).clamp(0, 1), top_p)
        nudged = (uniform + shift).clamp(0, 1 - 1e-12)
        drawn = reference.sample_top_k_top_p(logits.double(), temperature, top_k, nudged_p, nudged)
        near |= drawn == tokens
    assert near.all()
    assert (tokens != exact).sum() <= 1


@pytest.mark.parametrize("vocab_size", [1, 37, 4099])
def check_random_rows(vocab_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(fresh_seed())
    rows = 6
    with guarded_outputs(monkeypatch) as guarded:
        logits = guarded.place(torch.randn(rows, vocab_size + 3) * 3)[:, :vocab_size]
        options = settings(chance, rows, vocab_size)
        tokens = kernels.sample_top_k_top_p(logits, *options)
    assert_drawn(logits, options, tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def check_ties_and_masks(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few distinct values, both zeros among them, and most tokens masked in some rows."""
    chance = random.Random(fresh_seed())
    rows, vocab_size = 6, 60
    logits = torch.randn(rows, vocab_size).round() * torch.tensor([1.0, -1.0]).repeat(30)
    logits[::3, 5:] = float("-inf")
    logits[1::3] = 0.0
    with guarded_outputs(monkeypatch) as guarded:
        logits = guarded.place(logits.to(dtype))
        options = settings(chance, rows, vocab_size)
        tokens = kernels.sample_top_k_top_p(logits, *options)
    assert_drawn(logits, options, tokens)
    assert logits.gather(1, tokens[:, None]).isfinite().all()


def check_frequencies_follow_the_distribution() -> None:
    """Uniforms on a fine grid draw each token as often as its share of the grid."""
    fresh_seed()
    logits = torch.randn(5)
    grid = (torch.arange(12) + 0.5) / 12
    ones = torch.ones(12)
    tokens = kernels.sample_top_k_top_p(
        logits.expand(12, 5), ones * 0.8, torch.full((12,), 4), ones, grid
    )
    kept = torch.where(logits > logits.min(), logits / 0.8, float("-inf")).softmax(dim=0)
    counts = torch.bincount(tokens, minlength=5)
    assert (counts - 12 * kept).abs().max() <= 1.01
