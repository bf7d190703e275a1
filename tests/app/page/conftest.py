"""A server of the demo model, its page, and a browser, for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import CHROMIUM, chromium
from page import running_page
from playwright.sync_api import Browser
from serving import running_server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with chromium() as made:
        yield made


@pytest.fixture(scope="session")
def server_url(browser: Browser) -> Iterator[str]:
    """The address of a server of the demo model."""
    with running_server("--kv-cache-memory=64MiB") as base:
        yield base


@pytest.fixture(scope="session")
def page_url(server_url: str) -> Iterator[str]:
    """The address of a page about it."""
    with running_page(server_url) as url:
        yield url
