"""The page as a whole."""

from __future__ import annotations

import pytest
from browser import visit
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


def test_every_tab_opens(browser: Browser, page_url: str) -> None:
    with visit(browser, page_url) as page:
        page.get_by_text("octavo-demo").wait_for()
        for name in ("Ask", "Caption many", "Compare", "Search", "Engine"):
            page.get_by_role("tab", name=name, exact=True).click()
            tab = page.get_by_role("tab", name=name, exact=True)
            assert tab.get_attribute("aria-selected") == "true"
