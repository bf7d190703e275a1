"""Rates, from readings of a clock that are written out."""

from __future__ import annotations

from typing import Any

import pytest
from octavo.app.captioning.progress_report import ProgressReport, Tally
from octavo.app.captioning.rates import Rate, Rates


def test_lately_and_over_all() -> None:
    rates = Rates(1000.0)
    assert (rates.seconds, rates.recent, rates.overall) == (0, Rate(0, 0), Rate(0, 0))
    rates.add(1010.0, 100, 1000)
    assert rates.recent == rates.overall == Rate(10, 100)
    rates.add(1050.0, 100, 1000)
    rates.add(1100.0, 250, 4000)
    # Of what was within a minute, and of the last reading before that.
    assert rates.recent == Rate(150 / 90, 3000 / 90)
    assert rates.overall == Rate(2.5, 40)
    rates.add(1120.0, 300, 5000)
    assert rates.recent == Rate(200 / 70, 4000 / 70)
    assert rates.seconds == 120


def test_few_samples_are_kept() -> None:
    rates = Rates(0.0)
    for i in range(1, 100_000):
        rates.add(i / 5, i, i)
    assert len(rates._samples) <= 60 * 5 + 2
    assert rates.recent.pictures == pytest.approx(5)


NONE = Rate(0, 0)


def report(recent: Rate = NONE, overall: Rate = NONE, **counts: Any) -> ProgressReport:
    return ProgressReport(Tally(**counts), 3723.9, recent, overall)


@pytest.mark.parametrize(
    ("recent", "counts", "line"),
    [
        (NONE, {}, "0"),
        (NONE, {"total": 200_000}, "0 of 200,000"),
        (
            Rate(12.34, 5678.9),
            {"captioned": 1000, "failed": 3, "skipped": 231, "total": 200_000, "name": "a/b.jpg"},
            "1,234 of 200,000, 12.3 pictures/s, 5,679 tokens/s, 4:28:27 left, 3 failed, "
            "231 skipped, b.jpg",
        ),
        (Rate(0.034, 1.5), {"captioned": 1}, "1, 0.03 pictures/s, 1.50 tokens/s"),
        (Rate(0, 2), {"captioned": 9, "total": 5, "cached": 2}, "9 of 5, 2.00 tokens/s, 2 cached"),
        (Rate(1, 0), {"captioned": 9, "total": 5}, "9 of 5, 1.00 pictures/s, 0:00:00 left"),
        (NONE, {"name": "a\n\x1b[2Jb\u202e\udcff.jpg"}, "0, a??[2Jb?\\xff.jpg"),
        (NONE, {"name": "http://example.com/"}, "0, http://example.com/"),
    ],
)  # fmt: skip
def test_lines(recent: Rate, counts: dict[str, Any], line: str) -> None:
    assert report(recent, **counts).line() == line


@pytest.mark.parametrize(
    ("overall", "counts", "summary"),
    [
        (NONE, {}, "captioned 0 pictures in 1:02:03"),
        (
            Rate(0.5, 10),
            {"captioned": 1, "failed": 2},
            "captioned 1 picture in 1:02:03 (0.50 pictures/s, 10.0 tokens/s), 2 failed",
        ),
    ],
)
def test_summaries(overall: Rate, counts: dict[str, Any], summary: str) -> None:
    assert report(overall=overall, **counts).summary() == summary


def test_objects_for_machines() -> None:
    shown = report(Rate(4.0, 20.0), captioned=8, total=20).to_json(ended=False)
    assert shown["seconds_left"] == 3.0
    assert (shown["pictures_per_second"], shown["tokens_per_second"]) == (4.0, 20.0)
    shown = report(Rate(4.0, 20.0), overall=Rate(2.0, 9.0), captioned=8).to_json(ended=True)
    assert (shown["pictures_per_second"], shown["tokens_per_second"]) == (2.0, 9.0)
