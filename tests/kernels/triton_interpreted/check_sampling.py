"""Sampling against the reference in float64, with ties, masked tokens and extreme settings."""

from __future__ import annotations

import math
import random

import pytest
import torch
from octavo.kernels import triton as kernels
from sampling_checks import assert_drawn, assert_masks, settings
from triton_interpreted.support import fresh_seed, guarded_outputs


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


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def check_rows_without_a_largest_logit(broken: float) -> None:
    logits = torch.zeros(4, 70)
    logits[1, 66] = logits[2, 3] = broken
    if broken < 0:
        logits[1:3] = broken
    temperature, ones = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.ones(4)
    tokens = kernels.sample_top_k_top_p(logits, temperature, torch.zeros(4).long(), ones, ones / 2)
    assert tokens.tolist() == [0, -1, -1, 35]


@pytest.mark.parametrize("vocab_size", [1, 33, 2050])
def check_masks(vocab_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(fresh_seed())
    with guarded_outputs(monkeypatch) as guarded:
        logits = guarded.place(torch.randn(7, vocab_size + 3))
        assert_masks(kernels.mask_tokens, logits[:, :vocab_size], chance)
