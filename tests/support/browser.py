"""A real browser, headless: Debian's Chromium through Playwright. It has no network but this
machine's, a camera that shows a test pattern, and what the page logs, fails to load or asks of
elsewhere fails the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from serving import wait_until

CHROMIUM = shutil.which("chromium")
#: Milliseconds: machines are shared.
_PATIENCE_MS = 60_000
expect.set_options(timeout=_PATIENCE_MS)
_SCHEMES = ("data", "blob", "about")
_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def chromium() -> Iterator[Browser]:
    """One for many pages."""
    assert CHROMIUM is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *_CAMERA]
        )
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A visitor of their own, with options of Playwright's new_context. At its end nothing may have
    been logged as an error, have failed, or have been asked of another host."""
    context = browser.new_context(**options)
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    faults: list[str] = []
    host = urlsplit(url).netloc

    def look_at_request(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in _SCHEMES and parts.netloc != host:
            faults.append(f"asked {address}")

    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: look_at_request(request.url))
    page.on(
        "response",
        lambda got: got.status >= 400 and faults.append(f"{got.status} {got.url}"),
    )
    try:
        page.goto(url)
        yield page
    finally:
        # The page's process ends only when no visitor is connected.
        context.close()
    assert not faults, faults


def set_slider(within: Page | Locator, label: str, value: str) -> None:
    """The first slider of that label, by its number. One that isn't drawn to its end takes its old
    value back, so it is set until it holds."""
    number = within.get_by_label(f"number input for {label}").first
    slider = within.get_by_label(f"range slider for {label}").first

    def holds() -> bool:
        number.fill(value)
        return slider.input_value() == value

    wait_until(holds)
