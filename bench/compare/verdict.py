"""Whether the newer side is slower, metric by metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...core.protocol.config import ConfigError
from .compare_config import Threshold
from .significance import holm, sign_flip_p_value


@dataclass(frozen=True)
class MetricVerdict:
    """ratio: new's time to base's, the geometric mean over pairs; low and high: the smallest and
    largest pair. p_value: adjusted for the number of metrics."""

    metric: str
    ratio: float
    low: float
    high: float
    p_value: float
    regressed: bool


def judge(ratios: Mapping[str, Sequence[float]], threshold: Threshold) -> list[MetricVerdict]:
    """Test for each metric whether its log-ratios lie above log(1 + min_effect).

    Raises ConfigError if there are too few pairs to find anything.
    """
    fewest = min(len(values) for values in ratios.values())
    needed = math.ceil(math.log2(len(ratios) / threshold.alpha))
    if fewest < needed:
        raise ConfigError(
            f"{fewest} pairs can't show a regression of one of {len(ratios)} metrics at alpha "
            f"{threshold.alpha:g}: {needed} are needed"
        )
    margin = math.log1p(threshold.min_effect)
    p_values = holm(
        {
            metric: sign_flip_p_value([value - margin for value in values])
            for metric, values in ratios.items()
        }
    )
    return [
        MetricVerdict(
            metric,
            math.exp(statistics.fmean(values)),
            math.exp(min(values)),
            math.exp(max(values)),
            p_values[metric],
            p_values[metric] <= threshold.alpha,
        )
        for metric, values in ratios.items()
    ]
