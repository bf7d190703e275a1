"""The page as a whole."""

from __future__ import annotations

import pytest
from browser import visit
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser

TABS = ("Ask", "Caption many", "Compare", "Search", "Engine")
#: What reaches beyond the right edge of the screen.
BEYOND = """
[...document.querySelectorAll("body *")].filter((element) =>
  element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 0.5
).map((element) => element.outerHTML.slice(0, 200))
"""


def test_every_tab_opens(browser: Browser, page_url: str) -> None:
    with visit(browser, page_url) as page:
        page.get_by_text("octavo-demo").wait_for()
        for name in TABS:
            tab = page.get_by_role("tab", name=name, exact=True)
            tab.click()
            expect(tab).to_have_attribute("aria-selected", "true")


def test_a_phone_shows_every_tab_and_nothing_wider(browser: Browser, page_url: str) -> None:
    screen = {"width": 390, "height": 844}
    with visit(browser, page_url, viewport=screen, has_touch=True, is_mobile=True) as page:
        for name in TABS:
            expect(page.get_by_role("tab", name=name, exact=True)).to_be_in_viewport(ratio=1)
        for name in TABS:
            tab = page.get_by_role("tab", name=name, exact=True)
            tab.tap()
            expect(tab).to_have_attribute("aria-selected", "true")
            expect(page.get_by_role("tabpanel").filter(visible=True)).to_have_count(1)
            assert page.evaluate(BEYOND) == []
            assert page.evaluate("document.documentElement.scrollWidth") == 390
