"""The page's process as the child of a server: there before the model, started again, ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from process_tree import descendants, is_alive
from serving import wait_until

pytestmark = pytest.mark.browser


class Elsewhere(BaseHTTPRequestHandler):
    """A server that has one model, for those who have its key."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Bearer secret"
        body = {"data": [{"id": "far away"}]} if known else {"error": {"message": "no key"}}
        content = json.dumps(body).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def octavo(log: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "octavo", *arguments]
    settings = {**os.environ, "TMPDIR": str(log.parent), **environment}
    with (
        open(log, "wb") as stderr,
        subprocess.Popen(command, stderr=stderr, env=settings) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def page_in(log: Path) -> str:
    """Its address, once it is told."""
    wait_until(lambda: "the page: " in log.read_text())
    return log.read_text().partition("the page: ")[2].split()[0]


def page_pid(server: subprocess.Popen[bytes]) -> int:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(server.pid)}
    (found,) = [pid for pid, command in commands.items() if "octavo.app.page.run_page" in command]
    return found


def wait_for_page(url: str) -> None:
    with httpx.Client(timeout=240) as client:
        wait_until(lambda: client.get(f"{url}/").status_code == 200)


def loopback() -> str:
    """IPv6's, where there is one."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return "127.0.0.1"
    return "::1"


def test_it_is_there_before_the_model_and_comes_back(tmp_path: Path) -> None:
    """The hub takes the connection, and its time."""
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as hub:
        endpoint = f"http://127.0.0.1:{hub.getsockname()[1]}"
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hub")}
        with octavo(log, "serve", "some/model", "--ui", "--port=0", **environment) as server:
            url = page_in(log)
            assert url.endswith("/ui")
            wait_for_page(url)
            assert httpx.get(url.replace("/ui", "/health")).status_code == 503
            first = page_pid(server)
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: "the page's process died (killed by signal 9)" in log.read_text())
            wait_for_page(url)
            assert page_pid(server) != first
            family = descendants(server.pid)
            server.send_signal(signal.SIGTERM)
            assert server.wait(240) == 0
    # The kernel ends those that nobody else has, a moment later.
    wait_until(lambda: not any(map(is_alive, family)))
    assert not list(tmp_path.glob("octavo-page-*"))


def test_a_page_alone_ends_with_its_visitors_there(tmp_path: Path, elsewhere: str) -> None:
    log = tmp_path / "log"
    host = loopback()
    words = ("demo", f"--base-url={elsewhere}/v1", f"--host={host}", "--port=0", "--max-body-mib=1")
    with octavo(log, *words, "--drain-timeout=600", OPENAI_API_KEY="secret") as server:
        url = page_in(log)
        assert url.startswith("http://[::1]:" if host == "::1" else "http://127.0.0.1:")
        wait_for_page(url)
        much = {"files": bytes(2**20)}
        for path, status in (("queue/join", 413), ("upload", 200)):
            answer = httpx.post(f"{url}/gradio_api/{path}", files=much, timeout=240)
            assert answer.status_code == status
        family = descendants(server.pid)
        command = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in family)
        assert "secret" not in command
        with httpx.stream("GET", f"{url}/gradio_api/heartbeat/me", timeout=240) as visit:
            assert visit.status_code == 200
            server.send_signal(signal.SIGTERM)
            for _ in visit.iter_raw():
                pass
            assert server.wait(240) == 0
    assert "Traceback" not in log.read_text()
    # The kernel ends those that nobody else has, a moment later.
    wait_until(lambda: not any(map(is_alive, family)))
    assert not list(tmp_path.glob("octavo-page-*"))
