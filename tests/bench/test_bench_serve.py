"""`octavo bench serve`: an open loop, honest latencies, and counts that a server agrees with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from octavo.__main__ import main
from octavo.bench.arrivals import arrival_times
from octavo.bench.workload import Lengths, RequestMix, draw_shapes, text_of
from serving import metric
from slow_chat_server import SlowServer, cut_stream, refusal, slow_server

COUNT = 20
SERVICE_S = 0.1


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


def bench(tmp_path: Path, *options: str, status: int = 0) -> dict[str, Any]:
    file = tmp_path / "result.json"
    assert main(["bench", "serve", *options, f"--output-json={file}"]) == status
    result: dict[str, Any] = json.loads(file.read_text())
    return result


@pytest.mark.parametrize("burstiness", [1.0, 0.25, 4.0])
def test_gaps_between_arrivals_follow_the_gamma_law(burstiness: float) -> None:
    rate, count = 8.0, 20_000
    times = np.array(arrival_times(count, rate, burstiness, seed=3))
    gaps = np.diff(times, prepend=0.0)
    # A gamma variable of shape k and mean 1/rate has the variance 1/(k rate²); the standard
    # errors of both estimates, from its fourth moment, are well below these bounds.
    assert gaps.mean() == pytest.approx(1 / rate, rel=0.05)
    assert gaps.var() == pytest.approx(1 / (burstiness * rate**2), rel=0.12)
    if burstiness == 1.0:
        # Kolmogorov and Smirnov's distance from the exponential law, at the level 0.001.
        exact = 1 - np.exp(-rate * np.sort(gaps))
        places = np.arange(count + 1) / count
        distance = max((places[1:] - exact).max(), (exact - places[:-1]).max())
        assert distance < 1.95 / math.sqrt(count)


def test_arrivals_at_once_and_at_even_distances() -> None:
    assert arrival_times(3, math.inf, 1.0, seed=0) == [0.0, 0.0, 0.0]
    assert arrival_times(3, 4.0, math.inf, seed=0) == pytest.approx([0.25, 0.5, 0.75])
    assert arrival_times(5, 4.0, 1.0, seed=1) == arrival_times(5, 4.0, 1.0, seed=1)


def overload(base_url: str) -> list[str]:
    """20 requests within about half a second, for a server that needs two."""
    return [f"--base-url={base_url}", f"--num-prompts={COUNT}", "--request-rate=40",
            "--num-warmups=0", "--output-len=100-200", "--seed=5"]  # fmt: skip


def check_latencies(server: SlowServer, result: dict[str, Any]) -> None:
    """Times to first token, against the server's own clock, which is the client's too.

    The run began at the latest when a request came, less when the client says it sent it; an
    answer's piece can't have come before it was written.
    """
    mix = RequestMix(
        num_prompts=COUNT, input_len=Lengths(64, 64), output_len=Lengths(100, 200), seed=5
    )
    by_text = {seen.body["messages"][0]["content"]: seen for seen in server.seen}
    seen = [by_text[text_of(shape, 5)] for shape in draw_shapes(mix)]
    start = min(s.arrived - sent for s, sent in zip(seen, result["start_times"], strict=True))
    written = np.array([s.pieces[0] for s in seen]) - start
    hidden = np.array(result["ttfts"]) - (written - result["arrival_times"])
    assert hidden.min() > -1e-3


def test_arrivals_wait_for_nobody_and_latency_counts_from_them(tmp_path: Path) -> None:
    with slow_server(SERVICE_S) as server:
        result = bench(tmp_path, *overload(server.base_url))
    arrivals = arrival_times(COUNT, 40.0, 1.0, seed=5)
    assert result["arrival_times"] == pytest.approx(arrivals)
    assert (result["completed"], result["failed"]) == (COUNT, 0)
    # One at a time takes 2 s, so most were open at once if none waited to be sent.
    assert server.most_open > COUNT / 2
    assert min(np.array(result["start_times"]) - arrivals) >= 0
    check_latencies(server, result)
    assert max(result["ttfts"]) >= COUNT * SERVICE_S - max(arrivals)


def test_latency_includes_waiting_for_a_free_slot(tmp_path: Path) -> None:
    with slow_server(SERVICE_S) as server:
        result = bench(tmp_path, *overload(server.base_url), "--max-concurrency=2")
    assert server.most_open <= 2
    # The last one may be sent only after 18 others have been served.
    assert max(result["start_times"]) >= (COUNT - 2) * SERVICE_S
    last = int(np.argmax(result["start_times"]))
    waited = result["start_times"][last] - result["arrival_times"][last]
    assert result["ttfts"][last] >= waited + SERVICE_S
    assert result["p99_client_queue_time_ms"] >= 0.9 * waited * 1000
    check_latencies(server, result)


def test_without_a_rate_a_request_arrives_when_it_may_be_sent(tmp_path: Path) -> None:
    with slow_server(0.02) as server:
        options = [f"--base-url={server.base_url}", "--num-prompts=6", "--max-concurrency=1"]
        result = bench(tmp_path, *options)
    assert server.most_open == 1
    assert result["arrival_times"] == sorted(result["arrival_times"])
    # Each is counted from after the end of the one before, however long that took.
    first_pieces = np.add(result["arrival_times"], result["ttfts"])
    assert (first_pieces[:-1] < result["arrival_times"][1:]).all()


def test_times_between_tokens_are_the_server_s(tmp_path: Path) -> None:
    with slow_server(0.05, gap_s=1.0) as server:
        result = bench(tmp_path, f"--base-url={server.base_url}", "--num-prompts=1")
    written = np.diff(server.seen[-1].pieces)
    # A reader that must wait for a core sees one piece late, and the next gap is shorter.
    assert result["itls"][0] == pytest.approx(written, abs=0.9)
    after_first = result["mean_e2el_ms"] - result["mean_ttft_ms"]
    assert result["mean_tpot_ms"] == pytest.approx(after_first / 3)
    assert after_first >= 999 * sum(result["itls"][0])
    assert (result["total_input_tokens"], result["total_output_tokens"]) == (7, 4)


def test_failures_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with slow_server(0.01) as server:
        server.raw = {1: refusal("503 Service Unavailable"), 2: cut_stream(), 3: b"nonsense\r\n"}
        options = ["--num-prompts=40", "--output-len=1-5", "--num-warmups=0", "--goodput",
                   "e2el:60000", "--base-url"]  # fmt: skip
        result = bench(tmp_path, *options, server.base_url)
        sent = [seen.body["max_tokens"] for seen in server.seen]
        good = sum(length > 3 for length in sent)
        assert 0 < good < 40
        assert (result["completed"], result["failed"]) == (good, 40 - good)
        assert result["request_goodput"] == pytest.approx(good / result["duration"])
        assert sum(bool(error) for error in result["errors"]) == 40 - good
        assert [t is None for t in result["ttfts"]] == [bool(e) for e in result["errors"]]
        said = capsys.readouterr().out
        assert f"{sent.count(1)} requests failed: status 503" in said
        assert f"{sent.count(2)} requests failed: the stream ended before" in said
        server.raw[9] = refusal("500 Internal Server Error")
        only_bad = ["--num-prompts=3", "--output-len=9", "--num-warmups=0"]
        nothing = bench(tmp_path, *only_bad, f"--base-url={server.base_url}", status=1)
        assert nothing["mean_ttft_ms"] is None
        slow = ["--num-prompts=1", "--request-timeout=0.3", "--num-warmups=0"]
        server.first_s = 1.0
        late = bench(tmp_path, *slow, f"--base-url={server.base_url}", status=1)
        assert late["errors"] == ["no complete answer within 0.3 s"]


def test_a_server_s_metrics_agree(url: str, tmp_path: Path) -> None:
    names = ("time_to_first_token_seconds_count", "inter_token_latency_seconds_count",
             "e2e_request_latency_seconds_count", "prefix_cache_queries_total",
             "encoder_runs_total")  # fmt: skip
    before = {name: metric(url, name) for name in names}
    result = bench(
        tmp_path, f"--base-url={url}", "--num-prompts=12", "--input-len=4-20", "--output-len=2-9",
        "--image-share=0.5", "--distinct-images=2", "--image-size=32", "--request-rate=30",
        "--burstiness=0.5", "--num-warmups=0",
    )  # fmt: skip
    counted = {name: metric(url, name) - before[name] for name in names}
    assert result["completed"] == counted["e2e_request_latency_seconds_count"] == 12
    first_tokens = counted["time_to_first_token_seconds_count"]
    assert result["total_output_tokens"] == (
        first_tokens + counted["inter_token_latency_seconds_count"]
    )
    assert result["total_input_tokens"] == counted["prefix_cache_queries_total"]
    assert counted["encoder_runs_total"] == 2
    assert 2 * 12 <= result["total_output_tokens"] <= 9 * 12
    check_sums(result)


def check_sums(result: dict[str, Any]) -> None:
    """The summary, computed again from the lists."""
    duration = result["duration"]
    assert result["total_output_tokens"] == sum(result["output_lens"])
    assert result["output_throughput"] == pytest.approx(sum(result["output_lens"]) / duration)
    total = sum(result["input_lens"]) + sum(result["output_lens"])
    assert result["total_token_throughput"] == pytest.approx(total / duration)
    assert result["request_throughput"] == pytest.approx(len(result["ttfts"]) / duration)
    tpots = [
        (latency - ttft) / (length - 1)
        for latency, ttft, length in zip(
            result["latencies"], result["ttfts"], result["output_lens"], strict=True
        )
    ]
    gaps = [gap for gaps in result["itls"] for gap in gaps]
    samples = {"ttft": result["ttfts"], "e2el": result["latencies"], "tpot": tpots, "itl": gaps}
    for name, values in samples.items():
        milliseconds = np.array(values) * 1000
        assert result[f"mean_{name}_ms"] == pytest.approx(milliseconds.mean())
        assert result[f"median_{name}_ms"] == pytest.approx(np.median(milliseconds))
        assert result[f"p99_{name}_ms"] == pytest.approx(np.percentile(milliseconds, 99))


def test_goodput_counts_requests_that_keep_every_objective(url: str, tmp_path: Path) -> None:
    result = bench(tmp_path, f"--base-url={url}", "--num-prompts=8", "--output-len=4")
    limits = sorted(ttft * 1000 for ttft in result["ttfts"])
    # Judged again with an objective that half of that run kept: no fake, but another run.
    options = ["--num-prompts=8", "--output-len=4", "--goodput", f"ttft:{limits[3]}", "e2el:0"]
    assert bench(tmp_path, f"--base-url={url}", *options)["request_goodput"] == 0
    again = bench(tmp_path, f"--base-url={url}", *options[:-1])
    kept = sum(ttft * 1000 <= limits[3] for ttft in again["ttfts"])
    assert again["request_goodput"] == pytest.approx(kept / again["duration"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--base-url=nowhere"], "is no address"),
        (["--base-url=http://127.0.0.1:1"], "no server answers at http://127.0.0.1:1"),
        (["--base-url=http://127.0.0.1:1", "--", "model"], "takes no arguments"),
        (["--request-rate=0"], "request_rate must be above 0"),
        (["--burstiness=nan"], "burstiness must be above 0"),
        (["--request-timeout=-1"], "request_timeout must be above 0"),
        (["--image-share=2"], "image_share must be from 0 to 1"),
        (["--num-prompts=0"], "num_prompts must be at least 1"),
        (["--max-concurrency=0"], "max_concurrency must be at least 1"),
        (["--", "/no/such/model"], "the server did not start: model '/no/such/model' is neither"),
    ],
)
def test_what_can_not_be_measured_is_refused(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "serve", *options]) == 2
    assert expected in capsys.readouterr().err


def test_options_that_make_no_sense_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--goodput", "speed:3"], ["--input-len=9-3"], ["--output-len=0"]):
        with pytest.raises(SystemExit):
            main(["bench", "serve", *options])
        assert options[-1].split("=")[-1] in capsys.readouterr().err
