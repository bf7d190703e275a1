"""What an operator sees of a server: its log, in JSON, and its metrics."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import octavo
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import chat, running_server, wait_until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "stderr"


@pytest.fixture(scope="module")
def url(log: Path) -> Iterator[str]:
    with running_server(
        "--dtype=float32",
        "--kv-cache-memory=64MiB",
        "--log-format=json",
        "--log-level=debug",
        "--media-workers=1",
        f"--allowed-local-media-path={log.parent}",
        log=log,
    ) as base:
        yield base


def lines_about(log: Path, request_id: str, logger: str) -> list[dict[str, Any]]:
    """Of a logger, once there is one: other processes may still be writing."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        whole = log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        found[:] = [
            line
            for line in lines
            if line.get("request_id") == request_id and line["logger"].startswith(logger)
        ]
        return bool(found)

    wait_until(look, 10)
    return found


def samples(base: str) -> Samples:
    """As Prometheus reads them."""
    exposition = httpx.get(f"{base}/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def grown(before: Samples, after: Samples, name: str) -> dict[tuple[str, ...], float]:
    """By how much a counter's series have, by the values of its labels."""
    deltas = {
        tuple(value for _, value in labels): value - before.get((full, labels), 0)
        for (full, labels), value in after.items()
        if full == f"octavo:{name}"
    }
    return {labels: delta for labels, delta in deltas.items() if delta}


def test_each_line_of_each_process_says_whose_request_it_is_about(url: str, log: Path) -> None:
    answer = chat(url, max_tokens=3, ignore_eos=True)
    request_id = answer.headers["X-Request-Id"]
    assert answer.json()["id"].removeprefix("chatcmpl") == request_id.removeprefix("req")
    (access,) = lines_about(log, request_id, "uvicorn.access")
    assert access["message"].endswith('"POST /v1/chat/completions HTTP/1.1" 200')
    (ended,) = lines_about(log, request_id, "octavo.core.engine")
    assert ended["message"] == "an answer of 3 tokens ends: FINISHED_LENGTH"
    assert ended["process"] == httpx.get(f"{url}/health").json()["engine_pid"] != access["process"]


def test_a_refused_picture_is_logged_with_its_request(url: str, log: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": f"file://{log.parent}/none.png"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert answer.status_code == 400
    (warning,) = lines_about(log, answer.headers["X-Request-Id"], "octavo.core.media")
    assert warning["level"] == "WARNING"
    assert "No such file" in warning["message"]


def test_all_is_json_and_probes_are_not_in_it(url: str, log: Path) -> None:
    """Of what starts a server, too, in each of its processes."""
    assert httpx.get(f"{url}/metrics").status_code == 200
    asked = httpx.get(f"{url}/v1/models").headers["X-Request-Id"]
    lines_about(log, asked, "uvicorn.access")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"time", "level", "logger", "process", "message"} <= set.intersection(*map(set, lines))
    paths = [line["message"].split()[3] for line in lines if line["logger"] == "uvicorn.access"]
    assert "/v1/models" in paths
    assert not {"/health", "/metrics"} & set(paths)


def test_tokens_and_ends_are_counted(url: str) -> None:
    before = samples(url)
    answers = [
        chat(url, max_tokens=5, ignore_eos=True, temperature=0),
        chat(url, max_tokens=4, ignore_eos=True, n=2, seed=1),
        chat(url, max_tokens=64, temperature=0),
        chat(url, max_tokens=4, ignore_eos=True, use_beam_search=True, n=2, temperature=0),
    ]
    # At what the first answer has in its midst; the engine knows nothing of such an end.
    text = answers[0].json()["choices"][0]["message"]["content"]
    answers.append(chat(url, max_tokens=5, ignore_eos=True, temperature=0, stop=[text[4:6]]))
    after = samples(url)
    assert {answer.status_code for answer in answers} == {200}
    usage = [answer.json()["usage"] for answer in answers]
    reasons = [choice["finish_reason"] for a in answers for choice in a.json()["choices"]]
    assert reasons[-1] == "stop"
    assert grown(before, after, "prompt_tokens_total") == {
        (): sum(used["prompt_tokens"] for used in usage)
    }
    assert grown(before, after, "generation_tokens_total") == {
        (): sum(used["completion_tokens"] for used in usage)
    }
    assert grown(before, after, "request_success_total") == {
        (reason,): reasons.count(reason) for reason in set(reasons)
    }
    assert grown(before, after, "e2e_request_latency_seconds_count") == {(): len(reasons)}


def test_clients_that_leave_and_requests_that_fail_are_told_apart(url: str) -> None:
    before = samples(url)
    long = {"max_tokens": 1500, "ignore_eos": True}
    late = chat(url, timeout=1e-6, **long)
    assert late.status_code == 504
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, **long}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as stream:
        next(stream.iter_lines())

    def left() -> bool:
        return ("abort",) in grown(before, samples(url), "request_success_total")

    wait_until(left, 10)
    ended = grown(before, samples(url), "request_success_total")
    assert ended[("abort",)] == 1
    assert set(ended) <= {("abort",), ("error",)}


def test_requests_are_counted_by_path_and_status(url: str) -> None:
    before = samples(url)
    chat(url, max_tokens=1)
    chat(url, max_tokens=0)
    httpx.get(f"{url}/v1/chat/completions")
    httpx.get(f"{url}/v1/models/octavo-demo")
    httpx.get(f"{url}/v1/models/none")
    httpx.get(f"{url}/a")
    httpx.get(f"{url}/b")
    httpx.request("BREW", f"{url}/health")
    assert grown(before, samples(url), "http_requests_total") == {
        ("/metrics", "GET", "200"): 1,
        ("/v1/chat/completions", "POST", "200"): 1,
        ("/v1/chat/completions", "POST", "400"): 1,
        ("/v1/chat/completions", "GET", "405"): 1,
        ("/v1/models/{id:path}", "GET", "200"): 1,
        ("/v1/models/{id:path}", "GET", "404"): 1,
        ("none", "GET", "404"): 2,
        ("/health", "other", "405"): 1,
    }


def test_processes_and_versions_are_there_and_no_series_of_births(url: str) -> None:
    found = samples(url)
    names = {name for name, _ in found}
    assert not [name for name in names if name.endswith("_created")]
    labels = {
        "python_version": platform.python_version(),
        "torch_version": version("torch"),
        "version": octavo.__version__,
    }
    assert found[("octavo_build_info", tuple(sorted(labels.items())))] == 1
    pid = httpx.get(f"{url}/health").json()["engine_pid"]
    for prefix in ("process", "octavo_engine_process"):
        assert {f"{prefix}_cpu_seconds_total", f"{prefix}_open_fds"} <= names
        assert found[(f"{prefix}_resident_memory_bytes", ())] > 2**24
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    assert found[("octavo_engine_process_resident_memory_bytes", ())] == pytest.approx(
        resident * 4096, rel=0.2
    )
    assert found[("octavo:request_success_total", (("finished_reason", "error"),))] >= 0
