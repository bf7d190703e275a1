"""A server whose processes are stopped or killed: clients are told, others are started, and none
outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from octavo.core.process.heartbeat import StallWatch
from process_tree import children, descendants, is_alive
from serving import chat, is_healthy, running_server, wait_until

STALL_S = 6


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server(
        "--dtype=float32", "--kv-cache-memory=64MiB", f"--engine-stall-timeout={STALL_S}"
    ) as base:
        yield base


def engine_pid(base: str) -> int:
    pid: int = httpx.get(f"{base}/health").json()["engine_pid"]
    return pid


def test_a_stopped_engine_keeps_nobody_waiting_and_is_replaced(url: str) -> None:
    stopped = engine_pid(url)
    os.kill(stopped, signal.SIGSTOP)
    answers: dict[str, httpx.Response] = {}

    def ask(name: str, **fields: object) -> None:
        answers[name] = chat(url, **fields)

    endless = threading.Thread(target=ask, args=("endless",))
    endless.start()
    # Deadlines are kept though the engine watches none.
    ask("late", timeout=0.1)
    ask("queued", queue_timeout=0.1)
    ask("streamed", queue_timeout=0.1, stream=True)
    assert answers["late"].status_code == 504, answers["late"].text
    assert answers["late"].json()["error"]["code"] == "timeout"
    for name in ("queued", "streamed"):
        assert answers[name].status_code == 503, answers[name].text
        assert answers[name].json()["error"]["code"] == "queue_timeout"
    endless.join()
    assert answers["endless"].status_code == 503
    assert f"it did nothing for {STALL_S} s and was killed" in answers["endless"].text
    assert not is_alive(stopped)
    wait_until(lambda: is_healthy(url), 60)
    assert engine_pid(url) != stopped
    assert chat(url, max_tokens=2).status_code == 200


def test_an_idle_engine_is_not_taken_for_a_hung_one() -> None:
    """It answers pings; the ticks of its clock stand still meanwhile."""
    pings: list[str] = []
    watch = StallWatch(8, lambda: 7)
    for _ in range(1000):
        assert watch.look(lambda: pings.append("ping")) is None
        if pings:
            pings.clear()
            watch.heard()


def test_one_that_computes_is_given_time_and_one_that_does_nothing_is_not() -> None:
    pings: list[str] = []
    time = iter(range(100_000))
    watch = StallWatch(8, lambda: next(time))
    # While its model is loaded or compiled, any time.
    assert {watch.look(lambda: pings.append("ping")) for _ in range(5000)} == {None}
    assert pings == ["ping"]
    # Afterwards twenty times as long as one that does nothing.
    watch.heard()
    looks = [watch.look(lambda: None) for _ in range(160)]
    assert looks[:-1] == [None] * 159
    assert looks[-1] == "one step took more than 160 s and it was killed"
    watch = StallWatch(8, lambda: 7)
    hangs = "it did nothing for 8 s and was killed"
    assert [watch.look(lambda: None) for _ in range(12)] == [None] * 11 + [hangs]
    watch.heard()
    assert [watch.look(lambda: None) for _ in range(8)] == [None] * 7 + [hangs]


@pytest.mark.parametrize("stage", ["loading", "serving"])
def test_no_process_outlives_a_server_that_is_killed(stage: str) -> None:
    """Even one that is stopped; a server that loads is healthy only once pictures can be read."""
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "octavo", "serve", "--port=0", "--dtype=float32"]
        with subprocess.Popen([*command, "--kv-cache-memory=64MiB"], stderr=log) as server:
            try:
                wait_until(lambda: bool(hosts_of(server.pid)), 60)
                found = descendants(server.pid)
                (host,) = hosts_of(server.pid)
                os.kill(host, signal.SIGSTOP)
                if stage == "serving":
                    wait_until(lambda: b"room at once for" in said(log), 60)
                    # The engine is ready, and whoever asked now would wait for the host.
                    assert b"serving octavo-demo on" not in said(log)
                    os.kill(host, signal.SIGCONT)
                    wait_until(lambda: b"serving octavo-demo on" in said(log), 60)
                    os.kill(host, signal.SIGSTOP)
                    found = descendants(server.pid)
            finally:
                server.kill()
        wait_until(lambda: not any(map(is_alive, found)), 60)


def hosts_of(server: int) -> list[int]:
    """Processes that readers of images are forked from, which look like them."""
    # Not while it is being tied to the server, which another Python does before it.
    module = [b"-P", b"-m", b"octavo.core.media_pool.host"]
    return [pid for pid in children(server) if command_of(pid).split(b"\0")[1:4] == module]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def said(log: object) -> bytes:
    """All that is in a file that another process writes."""
    return Path(f"/proc/self/fd/{log.fileno()}").read_bytes()  # type: ignore[attr-defined]
