"""A server of the demo model, its page, and a browser, for all tests of the page."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from browser import CHROMIUM, chromium
from playwright.sync_api import Browser
from serving import running_server, wait_until


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with chromium() as made:
        yield made


@pytest.fixture(scope="session")
def page_url(browser: Browser) -> Iterator[str]:
    """The address of a page about a server of the demo model."""
    with running_server("--kv-cache-memory=64MiB") as base:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "octavo.app.page.run_page", base, str(port)]
        with subprocess.Popen(command) as process:
            try:
                url = f"http://127.0.0.1:{port}/ui"
                wait_until(lambda: _answers(url))
                yield url
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, follow_redirects=True).status_code == 200
    except httpx.ConnectError:
        return False
