"""When requests arrive: at once, as a Poisson process, or in bursts."""

from __future__ import annotations

import math

import numpy as np


def arrival_times(count: int, rate: float, burstiness: float, seed: int) -> list[float]:
    """Seconds from the start at which each of `count` requests arrives, `rate` a second.

    The gaps are drawn from a gamma distribution of shape `burstiness` and mean 1/rate, as in `vllm
    bench serve`: 1 is a Poisson process, less comes in bursts, infinity at even distances. They
    are left as drawn, so that a run's own rate differs a little from `rate`. An infinite rate is
    all at once. Both must be above 0.
    """
    if math.isinf(rate):
        return [0.0] * count
    if math.isinf(burstiness):
        gaps = np.full(count, 1 / rate)
    else:
        scale = 1 / (rate * burstiness)
        gaps = np.random.default_rng(seed).gamma(burstiness, scale, count)
    return [float(time) for time in np.cumsum(gaps)]
