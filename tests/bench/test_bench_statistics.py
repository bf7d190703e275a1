"""The statistics of `octavo bench compare`: exact, rarely wrong on real noise, never blind."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octavo.bench.compare.compare_config import METRICS, CompareConfig, Threshold
from octavo.bench.compare.significance import holm, sign_flip_p_value
from octavo.bench.compare.verdict import judge
from octavo.core.protocol.config import ConfigError

#: Of real pairs of fresh processes with the same code on a busy machine of two cores: by metric,
#: log(seconds of one / seconds of the other), those with the same place measured together.
NOISE: dict[str, list[float]] = json.loads(Path(__file__).with_name("bench_noise.json").read_text())
COMPARISONS = 400


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=9))
def test_the_p_value_is_the_share_of_sign_patterns(values: list[int]) -> None:
    patterns = list(itertools.product((1, -1), repeat=len(values)))
    sums = [sum(s * v for s, v in zip(signs, values, strict=True)) for signs in patterns]
    exact = Fraction(sum(total >= sum(values) for total in sums), len(sums))
    assert sign_flip_p_value([float(value) for value in values]) == exact


def test_the_p_value_bears_rounding() -> None:
    # 0.1 + 0.2 - 0.3 is not 0 in floating point; the patterns are equal all the same.
    assert sign_flip_p_value([0.1, 0.2, -0.3]) == sign_flip_p_value([1.0, 2.0, -3.0])
    for values in ([], [0.0] * 21):
        with pytest.raises(ValueError, match="1 to 20 values"):
            sign_flip_p_value(values)


def test_holm_against_its_definition() -> None:
    # Each by hand: 0.01 × 4, 0.02 × 3, then 0.03 × 2, which may not be less than the one before.
    adjusted = holm({"c": 0.03, "a": 0.01, "d": 0.9, "b": 0.02})
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.9})
    assert holm({"a": 0.6, "b": 0.7}) == pytest.approx({"a": 1.0, "b": 1.0})


def comparisons(slowed: tuple[str, ...], factor: float) -> Iterator[dict[str, list[float]]]:
    """Comparisons of eight pairs drawn from the real ones. Which side of a pair was called new
    was chance, so each is turned round at random."""
    rng = random.Random(7)
    count = len(NOISE[METRICS[0]])
    for _ in range(COMPARISONS):
        drawn = [(rng.randrange(count), rng.choice((1, -1))) for _ in range(CompareConfig.pairs)]
        yield {
            metric: [
                sign * NOISE[metric][i] + (math.log(factor) if metric in slowed else 0.0)
                for i, sign in drawn
            ]
            for metric in METRICS
        }


def regressions(ratios: dict[str, list[float]]) -> list[str]:
    return [verdict.metric for verdict in judge(ratios, Threshold()) if verdict.regressed]


def test_the_noise_is_a_busy_machine_s() -> None:
    assert {len(values) for values in NOISE.values()} == {42}
    spread = [abs(value) for values in NOISE.values() for value in values]
    assert max(spread) > math.log(1.3)


def test_clean_comparisons_rarely_give_an_alarm() -> None:
    """Of any twenty at most one, with a probability of 99 %."""
    rate = sum(bool(regressions(ratios)) for ratios in comparisons((), 1.0)) / COMPARISONS
    at_most_one = (1 - rate) ** 20 + 20 * rate * (1 - rate) ** 19
    assert at_most_one > 0.99, f"{rate:.2%} of clean comparisons gave an alarm"


def test_an_injected_slowdown_is_always_found() -> None:
    missed = sum(not regressions(ratios) for ratios in comparisons(METRICS, 1.3))
    assert missed == 0


@pytest.mark.parametrize(("factor", "share"), [(1.3, 0.8), (1.5, 0.99)])
@pytest.mark.parametrize("metric", METRICS)
def test_a_slowdown_of_one_metric_is_named(metric: str, factor: float, share: float) -> None:
    """In noise like this eight pairs do not always show a loss of 30 % in one metric alone."""
    found = [regressions(ratios) for ratios in comparisons((metric,), factor)]
    assert sum(metric in names for names in found) >= share * COMPARISONS
    others = sum(bool(set(names) - {metric}) for names in found)
    assert others <= 0.01 * COMPARISONS


def test_a_gain_or_a_small_loss_is_no_regression() -> None:
    steady = {metric: [math.log(1.04)] * 8 for metric in METRICS}
    assert regressions(steady) == []
    assert regressions({**steady, "decode": [math.log(0.5)] * 8}) == []
    assert regressions({**steady, "decode": [math.log(1.06)] * 8}) == ["decode"]
    (verdict,) = judge({"decode": [math.log(1.2), math.log(1.8)] * 4}, Threshold())
    assert verdict.ratio == pytest.approx(math.sqrt(1.2 * 1.8))
    assert (verdict.low, verdict.high) == pytest.approx((1.2, 1.8))


def test_too_few_pairs_are_refused_rather_than_passed() -> None:
    doubled = [math.log(2)] * 6
    assert [v.regressed for v in judge(dict.fromkeys("abcd", doubled), Threshold())] == [True] * 4
    with pytest.raises(ConfigError, match=r"5 pairs can't show .* of 4 metrics .*: 6 are needed"):
        judge(dict.fromkeys("abcd", doubled[:5]), Threshold())
    for threshold in ({"alpha": 0.0}, {"alpha": 1.0}, {"min_effect": -0.1}):
        with pytest.raises(ConfigError, match=r"alpha|min_effect"):
            Threshold(**threshold)
