"""The distribution that tokens are drawn from, against a slow reference and against counts."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from octavo.core.engine.messages import RequestTimings
from octavo.core.engine.request import Request
from octavo.core.engine.sampler import Sampler, sampling_probs
from octavo.core.engine.sampling_params import SamplingParams


def slow_probs(logits: list[float], params: SamplingParams) -> list[float]:
    """Top-k, then top-p over what is left, one list at a time."""
    scaled = [x / params.temperature for x in logits]
    order = sorted(range(len(scaled)), key=lambda i: -scaled[i])
    kept = order[: params.top_k] if params.top_k > 0 else order
    weights = {i: math.exp(scaled[i] - scaled[order[0]]) for i in kept}
    total = sum(weights.values())
    chosen, mass = [], 0.0
    for i in kept:
        if mass >= params.top_p:
            break
        chosen.append(i)
        mass += weights[i] / total
    remaining = sum(weights[i] for i in chosen)
    return [weights[i] / remaining if i in chosen else 0.0 for i in range(len(logits))]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.floats(0.1, 2),
    top_k=st.integers(0, 12),
    top_p=st.floats(0.05, 0.99),
)
def test_truncation(seed: int, temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(9, generator=torch.Generator().manual_seed(seed)) * 3
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p)
    other = SamplingParams(temperature=1.0)
    probs = sampling_probs(torch.stack([logits, logits]), [params, other])
    expected = torch.tensor(slow_probs(logits.tolist(), params))
    torch.testing.assert_close(probs[0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(probs[1], logits.softmax(-1))


def test_draws_follow_the_probabilities() -> None:
    """Chi-squared over 4,000 draws; 27.9 is exceeded by chance once in a thousand (9 degrees)."""
    logits = torch.linspace(-1, 2, 10)
    params = SamplingParams(temperature=1.0, seed=3)
    request = Request("r", [0], 1, params, [], RequestTimings())
    sampler = Sampler(torch.device("cpu"))
    counts = torch.zeros(10)
    for _ in range(4000):
        counts[sampler.sample(logits[None].clone(), [request])["r"].token_id] += 1
    expected = logits.softmax(-1) * 4000
    assert ((counts - expected) ** 2 / expected).sum() < 27.9
