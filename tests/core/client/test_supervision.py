"""The server stays up: its engine killed, its queue full, its requests late, its clients gone."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from serving import chat, free_blocks, is_healthy, metric, running_server, wait_until

LONG = {"max_tokens": 1500, "ignore_eos": True, "logprobs": True, "top_logprobs": 20}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Two requests run at once, three may wait."""
    with running_server(
        "--dtype=float32", "--max-num-seqs=2", "--max-num-queued-reqs=3", "--kv-cache-memory=64MiB"
    ) as base:
        yield base


@contextmanager
def held_requests(
    base: str, count: int, headers: dict[str, str] | None = None
) -> Iterator[list[socket.socket]]:
    """The connections of long requests, whose client leaves at the end, however far they are."""
    address = httpx.URL(base)
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, **LONG}
    request = httpx.Request("POST", f"{base}/v1/chat/completions", json=body, headers=headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = socket.create_connection((address.host, address.port))
            stack.enter_context(connection)
            # Closed by a reset, so that the server sees at once that nobody reads.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line = f"POST {request.url.path} HTTP/1.1\r\n"
            connection.sendall(f"{line}{head}\r\n".encode() + request.content)
            connections.append(connection)
        yield connections


def was_refused(connection: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return b" 503 " in connection.recv(16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return False


def test_a_full_queue_refuses_at_once(url: str) -> None:
    with held_requests(url, 5):
        wait_until(lambda: metric(url, "num_requests_waiting") == 3, 10)
        assert metric(url, "num_requests_running") == 2
        assert metric(url, "kv_cache_usage_perc") > 0
        refused = chat(url)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"]["code"] == "overloaded"
    wait_until(lambda: metric(url, "kv_cache_usage_perc") == 0)
    late = chat(url, timeout=0.05, **LONG)
    assert late.status_code == 504
    assert late.json()["error"]["code"] == "timeout"
    assert chat(url, max_tokens=2).status_code == 200
    wait_until(lambda: metric(url, "kv_cache_usage_perc") == 0)


def test_who_fills_the_queue_makes_room_for_another(url: str) -> None:
    def bearer(client: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {client}"}

    def ask(client: str) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
        return httpx.post(
            f"{url}/v1/chat/completions", json=body, headers=bearer(client), timeout=60
        )

    with ThreadPoolExecutor(1) as pool:
        with held_requests(url, 5, bearer("greedy")) as flood:
            wait_until(lambda: metric(url, "num_requests_waiting") == 3, 10)
            assert ask("greedy").status_code == 503
            polite = pool.submit(ask, "polite")
            wait_until(lambda: any(map(was_refused, flood)))
            assert sum(map(was_refused, flood)) == 1
        assert polite.result().status_code == 200


def test_a_request_that_waits_too_long_says_so(url: str) -> None:
    wait_until(lambda: metric(url, "num_requests_running") == 0)
    with held_requests(url, 2):
        wait_until(lambda: metric(url, "num_requests_running") == 2, 10)
        late = chat(url, queue_timeout=0.05)
        streamed = chat(url, queue_timeout=0.05, stream=True)
    for answer in (late, streamed):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "queue_timeout"
    wait_until(lambda: metric(url, "kv_cache_usage_perc") == 0)


def test_metrics_count_what_happened(url: str) -> None:
    names = ["time_to_first_token_seconds", "inter_token_latency_seconds"]
    before = {name: metric(url, f"{name}_count") for name in names}
    queries = metric(url, "prefix_cache_queries_total")
    hits = metric(url, "prefix_cache_hits_total")
    answer = chat(url, "count me " * 8, max_tokens=5, ignore_eos=True)
    again = chat(url, "count me " * 8, max_tokens=5, ignore_eos=True)
    assert again.status_code == 200
    prompt = answer.json()["usage"]["prompt_tokens"]
    assert metric(url, "time_to_first_token_seconds_count") == before[names[0]] + 2
    assert metric(url, "inter_token_latency_seconds_count") == before[names[1]] + 8
    assert metric(url, "prefix_cache_queries_total") == queries + 2 * prompt
    assert metric(url, "prefix_cache_hits_total") == hits + (prompt - 1) // 16 * 16
    assert metric(url, "num_preemptions_total") == 0
    assert metric(url, "encoder_runs_total") == 0
    assert metric(url, "e2e_request_latency_seconds_count") >= 2


def test_clients_that_vanish_leave_nothing_behind(url: str) -> None:
    rng = random.Random(0)
    total = free_blocks(url)

    def one(seconds: float | None) -> int | None:
        body = {"messages": [{"role": "user", "content": f"wait {rng.random()}"}], "max_tokens": 30}
        body["stream"] = rng.random() < 0.5
        try:
            return httpx.post(
                f"{url}/v1/chat/completions", json=body, timeout=seconds or 60
            ).status_code
        except httpx.TimeoutException:
            return None

    patience = [rng.uniform(0.001, 0.05) if i % 3 == 0 else None for i in range(90)]
    with ThreadPoolExecutor(6) as pool:
        statuses = set(pool.map(one, patience))
    assert statuses <= {200, 503, None}
    assert 200 in statuses
    wait_until(lambda: free_blocks(url) == total, 20)
    assert httpx.get(f"{url}/health").json()["encoder_cache_pinned_bytes"] == 0


def test_a_killed_engine_comes_back(url: str) -> None:
    """Open requests end with an error that says so, streams with an event."""
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda s=stream: answers.append(chat(url, stream=s, **LONG)))
        for stream in (False, True, False)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: metric(url, "num_requests_running") == 2, 10)
    os.kill(httpx.get(f"{url}/health").json()["engine_pid"], signal.SIGKILL)
    for thread in threads:
        thread.join()
    for answer in answers:
        assert "the engine died (killed by signal 9) and the request with it" in answer.text
        streamed = answer.headers["content-type"].startswith("text/event-stream")
        assert answer.status_code == (200 if streamed else 503)
    assert chat(url).status_code == 503
    assert httpx.get(f"{url}/health").status_code == 503
    assert httpx.get(f"{url}/health/live").status_code == 200
    wait_until(lambda: is_healthy(url), 30)
    assert chat(url, max_tokens=2).status_code == 200
    assert metric(url, "engine_restarts_total") == 1


def test_a_model_that_can_not_load_is_told_in_one_line() -> None:
    command = [sys.executable, "-m", "octavo", "serve", "--kv-cache-memory", "1MiB"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "raise kv_cache_memory or lower max_model_len" in result.stderr
    assert "Traceback" not in result.stderr
