"""Sampling on the CPU against the reference in float64, with ties, masked tokens and extremes."""

from __future__ import annotations

import math
import random

import pytest
import torch
from octavo.kernels import reference
from octavo.kernels.cpu import sampling
from octavo.kernels.ops import MaskTokens, SampleTopKTopP
from octavo.kernels.portable import numpy_sampling
from sampling_checks import assert_drawn, assert_masks, settings

pytestmark = pytest.mark.usefixtures("level")
KERNELS = {"cpu": sampling.sample_top_k_top_p, "numpy": numpy_sampling.sample_top_k_top_p}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("vocab_size", [1, 37, 64, 4099, 20_000])
def test_random_rows(kernel: SampleTopKTopP, vocab_size: int) -> None:
    chance = random.Random(vocab_size)
    for scale in (0.3, 3.0, 30.0):
        logits = (torch.randn(12, vocab_size + 3) * scale)[:, :vocab_size]
        options = settings(chance, 12, vocab_size)
        assert_drawn(logits, options, kernel(logits, *options))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("vocab_size", [60, 5000])
def test_ties_and_masks(kernel: SampleTopKTopP, vocab_size: int) -> None:
    chance = random.Random(vocab_size)
    logits = torch.randn(12, vocab_size).round() * torch.tensor([1.0, -1.0]).repeat(vocab_size // 2)
    logits[::3, 5:] = -math.inf
    logits[1::3] = 0.0
    options = settings(chance, 12, vocab_size)
    tokens = kernel(logits, *options)
    assert_drawn(logits, options, tokens)
    assert logits.gather(1, tokens[:, None]).isfinite().all()


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [3, 66, 69])
def test_rows_without_a_largest_logit(kernel: SampleTopKTopP, broken: float, place: int) -> None:
    logits = torch.zeros(4, 70)
    logits[1:3, place] = broken
    if broken < 0:
        logits[1:3] = broken
    temperature, ones = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.ones(4)
    tokens = kernel(logits, temperature, torch.zeros(4).long(), ones, ones / 2)
    assert tokens.tolist() == [0, -1, -1, 35]


@pytest.mark.parametrize("mask_tokens", [sampling.mask_tokens, reference.mask_tokens])
@pytest.mark.parametrize("vocab_size", [1, 31, 32, 33, 4099])
def test_masks(mask_tokens: MaskTokens, vocab_size: int) -> None:
    logits = torch.randn(7, vocab_size + 3)
    beyond = logits[:, vocab_size:].clone()
    assert_masks(mask_tokens, logits[:, :vocab_size], random.Random(vocab_size))
    assert torch.equal(logits[:, vocab_size:], beyond)
