"""What is read of metrics, and rates of counters, by hand-made expositions."""

from __future__ import annotations

import re

import pytest
from octavo.app.page.engine.exposition import Exposition
from octavo.app.page.engine.history import KEPT_S, History, rate_lately, sample_of
from octavo.app.page.engine.sparkline import sparkline

TEXT = """\
# HELP octavo_build_info What runs here.
# TYPE octavo_build_info gauge
octavo_build_info{version="1"} 1.0
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1000.5
# TYPE octavo:num_requests_running gauge
octavo:num_requests_running 3.0
# TYPE octavo:generation_tokens counter
octavo:generation_tokens_total 1.2e3
# TYPE octavo:kv_blocks gauge
octavo:kv_blocks{state="used"} 5.0
octavo:kv_blocks{state="cached"} 7.0
# TYPE octavo:encoder_cache_hits counter
octavo:encoder_cache_hits_total{tier="memory"} 2.0
octavo:encoder_cache_hits_total{tier="redis"} 1.0
# TYPE octavo:encoder_cache_misses counter
octavo:encoder_cache_misses_total{tier="memory"} 4.0
"""


def test_an_exposition_is_read() -> None:
    exposition = Exposition(TEXT)
    assert exposition.is_octavos
    assert exposition.process_start == 1000.5
    sample = sample_of(exposition, 9.0)
    assert sample.time == 9
    assert sample.values == {"num_requests_running": 3, "generation_tokens_total": 1200}
    assert sample.blocks == {"used": 5, "cached": 7}
    assert sample.hits == {"memory": 2, "redis": 1}
    assert sample.misses == {"memory": 4}


def test_another_servers_is_told_apart() -> None:
    vllm = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3.0\n"
    assert not Exposition(vllm).is_octavos
    assert not Exposition("").is_octavos
    with pytest.raises(ValueError, match="float"):
        Exposition("<html>nothing here {</html>")


def history(*points: tuple[float, float]) -> History:
    """Of the counter "c", at times."""
    made = History()
    for time, value in points:
        name = "# TYPE octavo:c counter\noctavo:c_total"
        made.add(sample_of(Exposition(f"{name} {value}\n"), time))
    return made


def test_rates_are_growth_by_time() -> None:
    rates = history((10, 4), (12, 10), (12.5, 10), (14.5, 11)).rates("c_total")
    assert [(r.start, r.end, r.per_second) for r in rates] == [
        (10, 12, 3),
        (12, 12.5, 0),
        (12.5, 14.5, 0.5),
    ]
    # (0 + 1) / 2.5 s: the interval that ended 2.5 s before is out.
    assert rate_lately(rates, 2.5) == pytest.approx(1 / 2.5)
    assert rate_lately(rates, 100) == pytest.approx(7 / 4.5)
    assert rate_lately([], 5) == 0
    assert history((1, 1)).rates("c_total") == []
    assert history((1, 1), (2, 2)).rates("other") == []


def test_a_counter_that_begins_anew_has_grown_from_0() -> None:
    rates = history((0, 100), (1, 150), (3, 6), (4, 6), (5, 0)).rates("c_total")
    assert [rate.per_second for rate in rates] == [50, 3, 0, 0]


def test_minutes_are_kept_and_no_more() -> None:
    kept = history(*((float(second), 0.0) for second in range(1000)))
    assert len(kept) == KEPT_S + 1
    rates = kept.rates("c_total")
    assert (rates[0].start, rates[-1].end) == (999 - KEPT_S, 999)


def test_a_plot_has_its_highest_rate_at_the_top_and_now_at_the_right() -> None:
    plot = sparkline(history((0, 0), (30, 60), (60, 180)).rates("c_total"), 'a "label"')
    line = re.search(r'<polyline points="([^"]*)"', plot)
    assert line is not None
    # 2 and 4 a second over 60 s, 300 wide; 1 is the top and 59 the bottom.
    assert line[1] == "0.0,30.0 150.0,30.0 150.0,1.0 300.0,1.0"
    assert 'aria-label="a &quot;label&quot;"' in plot
    assert "polyline" not in sparkline([], "nothing yet")
