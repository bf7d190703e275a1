"""A server of the demo model with a page, and a browser, for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import CHROMIUM, chromium
from page_process import is_there
from playwright.sync_api import Browser
from serving import running_server, wait_until


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module, as an event loop runs in this thread while there is one."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with chromium() as made:
        yield made


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The address of a server of the demo model, with its page. It takes requests of 1 MiB."""
    with running_server("--ui", "--kv-cache-memory=64MiB", "--max-body-mib=1") as base:
        wait_until(lambda: is_there(f"{base}/ui/"))
        yield base


@pytest.fixture(scope="session")
def page_url(server_url: str) -> str:
    """The address of its page."""
    return f"{server_url}/ui/"
