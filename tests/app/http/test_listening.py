"""Real connections and signals at what runs all servers, around an application without a model."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

STREAM_CUT = "first cut"


class Toy:
    """The process, and its address."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def until(self, line: str) -> None:
        """Read what it prints."""
        assert self.process.stdout is not None
        for said in self.process.stdout:
            if said.strip() == line:
                return
        raise AssertionError(f"it never said {line!r}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 60)

    def end(self) -> tuple[int, str, str]:
        """Its exit status and what it printed after `until`, once it has ended."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def toy(*, limit: int | None = None, **settings: Any) -> Iterator[Toy]:
    """limit: of open files."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = str(Path(__file__).parents[2] / "support" / "toy_server.py")
    command = [sys.executable, script, str(port), json.dumps(settings)]
    if limit is not None:
        command = ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash", *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            server = Toy(process, port)
            if "load" not in settings:
                server.until("serving")
                wait_until_open(server)
            yield server
        finally:
            process.kill()


def wait_until_open(server: Toy) -> None:
    for _ in range(600):
        try:
            server.connect().close()
        except ConnectionError:
            threading.Event().wait(0.05)
        else:
            return
    raise AssertionError("nobody listens")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def ask(pool: ThreadPoolExecutor, server: Toy, path: str) -> Future[httpx.Response]:
    """Begin a request, and wait until it is being answered."""
    answer = pool.submit(httpx.get, server.url + path, timeout=240)
    server.until("waiting")
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_what_is_open_is_answered_whole_and_the_status_is_0(
    pool: ThreadPoolExecutor, number: signal.Signals
) -> None:
    with toy() as server:
        answer = ask(pool, server, "/wait?seconds=0.5")
        server.process.send_signal(number)
        assert answer.result().text == "whole"
        status, out, err = server.end()
    assert status == 0
    assert out.endswith("put away\n")
    assert "Traceback" not in err


@pytest.mark.parametrize("hurry", [True, False], ids=["a second signal", "the drain timeout"])
def test_what_is_cut_is_told_so_and_the_status_is_1(pool: ThreadPoolExecutor, hurry: bool) -> None:
    with toy(drain=600.0 if hurry else 0.2) as server:
        stream, other = ask(pool, server, "/stream"), ask(pool, server, "/wait?seconds=600")
        with server.connect() as slow, server.connect() as silent:
            slow.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            silent.sendall(b"GET /re")
            # Until it is being read.
            httpx.get(f"{server.url}/count", timeout=240)
            server.process.send_signal(signal.SIGINT)
            if hurry:
                server.process.send_signal(signal.SIGTERM)
            assert stream.result().text == STREAM_CUT
            assert other.result().status_code == 503
            assert other.result().json()["error"]["code"] == "shutting_down"
            assert int(other.result().headers["Retry-After"]) >= 1
            assert b" 503 " in slow.recv(65536).splitlines()[0]
        status, out, err = server.end()
    assert status == 1
    assert out.endswith("put away\n")
    assert "Traceback" not in err


def test_a_server_that_loads_ends_in_order() -> None:
    with toy(load=600.0) as server:
        server.until("loading")
        server.process.send_signal(signal.SIGTERM)
        status, out, err = server.end()
    assert (status, out, err) == (0, "put away\n", "")


def test_the_third_signal_ends_a_server_that_does_not_end() -> None:
    with toy(load=600.0, end=600.0) as server:
        server.until("loading")
        server.process.send_signal(signal.SIGINT)
        server.until("put away")
        # Signals of one number that wait are one.
        server.process.send_signal(signal.SIGTERM)
        while server.process.poll() is None:
            server.process.send_signal(signal.SIGINT)
            threading.Event().wait(0.05)
        status, _, err = server.end()
    # Two that wait together come in the order of their numbers, so either may be the third.
    assert status in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert err == ""


def test_headers_that_never_end_are_answered_408() -> None:
    with toy(headers=0.2) as server, server.connect() as slow, server.connect() as silent:
        slow.sendall(b"GET /count HTTP/1.1\r\nX-Slow: 1\r\n")
        answer = read_all(slow)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert (
            "did not come within"
            in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        )
        # One that said nothing is told nothing.
        assert read_all(silent) == b""
        # One that has said all keeps its connection.
        with httpx.Client() as client:
            assert client.get(f"{server.url}/wait?seconds=0.5", timeout=240).text == "whole"


def test_a_body_that_never_ends_is_answered_408() -> None:
    with toy(body=0.2) as server, server.connect() as slow:
        slow.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        answer = read_all(slow)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert httpx.post(f"{server.url}/read", content=b"x" * 100_000).text == "100000"


def test_more_connections_than_allowed_wait(pool: ThreadPoolExecutor) -> None:
    with toy(connections=3) as server:
        answers = list(pool.map(lambda _: fetch(server, "/count"), range(60)))
    assert {answer[9:12] for answer in answers} == {b"200"}
    assert max(int(answer.rpartition(b"\n")[2]) for answer in answers) <= 3


def test_as_many_connections_as_descriptors_allow(pool: ThreadPoolExecutor) -> None:
    """With 64 of them and 120 connections, which are open before anything is sent."""
    with toy(limit=64) as server:
        connections = [server.connect() for _ in range(120)]
        list(pool.map(lambda sock: send(sock, "/count"), connections))
        answers = list(pool.map(read_all, connections))
        for sock in connections:
            sock.close()
        assert {answer[9:12] for answer in answers} == {b"200"}
        server.process.terminate()
        status, _, err = server.end()
    assert status == 0
    assert err.count("new ones wait until others end") == 1


def send(sock: socket.socket, path: str) -> None:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def fetch(server: Toy, path: str) -> bytes:
    with server.connect() as sock:
        send(sock, path)
        return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    answer = b""
    while chunk := sock.recv(65536):
        answer += chunk
    return answer


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "octavo", "serve", "no-such/model", "--port", port]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        f"octavo: --port: {port} is in use by another program; choose another\n"
    )
