"""Exact tests on few paired observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_TOLERANCE = 1e-12
_MOST = 20


def sign_flip_p_value(values: Sequence[float]) -> float:
    """The probability of a sum as high as that of `values` if each was as likely to have the
    opposite sign: Fisher's exact randomisation test for paired observations, one-sided (The
    Design of Experiments, 1935, section 21).

    Raises ValueError for none or more than 20 values, as all 2^n cases are looked at.
    """
    if not 1 <= len(values) <= _MOST:
        raise ValueError(f"the test takes 1 to {_MOST} values, not {len(values)}")
    array = np.asarray(values, dtype=float)
    sums = np.zeros(1)
    for value in array:
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(sums >= array.sum() - _TOLERANCE * np.abs(array).sum()))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The same, adjusted for their number: Holm's step-down procedure (1979)."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for rank, (name, p_value) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p_value))
        adjusted[name] = highest
    return adjusted
