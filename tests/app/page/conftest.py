"""A server of the demo model with a page, and a browser, for all tests of the page."""

from __future__ import annotations

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
    """The address of the page of a server of the demo model."""
    with running_server("--ui", "--kv-cache-memory=64MiB") as base:
        url = f"{base}/ui/"
        with httpx.Client(timeout=240) as client:
            wait_until(lambda: client.get(url).status_code == 200)
        yield url
