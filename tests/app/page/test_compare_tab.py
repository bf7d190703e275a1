"""The tab "Compare": two answers about one picture."""

from __future__ import annotations

import re
from pathlib import Path

import octavo
import pytest
from browser import visit
from page_process import running_page
from playwright.sync_api import Browser, Locator, Page, expect
from serving import wait_until
from two_models import ENDLESS, two_models

pytestmark = pytest.mark.browser

IMAGES = Path(octavo.__file__).parent / "examples" / "images"


def opened(page: Page) -> Page:
    page.get_by_role("tab", name="Compare", exact=True).click()
    return page


def drop(page: Page, *files: Path) -> None:
    page.get_by_role("tabpanel").filter(visible=True).locator(
        "input[type=file]"
    ).first.set_input_files(files)
    expect(page.get_by_label("Remove Image").filter(visible=True)).to_be_visible()


def ask(page: Page, left: str, right: str) -> None:
    page.get_by_label("Left: prompt").fill(left)
    page.get_by_label("Right: prompt").fill(right)
    page.get_by_role("button", name="Compare", exact=True).click()


def answer(page: Page, side: str) -> Locator:
    heading = page.get_by_role("heading", name=side, exact=True)
    return page.locator(".answer").filter(has=heading)


def test_two_prompts_and_the_same_one_by_two_visitors(browser: Browser, page_url: str) -> None:
    with visit(browser, page_url) as first, visit(browser, page_url) as second:
        drop(opened(first), IMAGES / "dog.png")
        drop(opened(second), IMAGES / "pizza.png")
        ask(first, "What is this?", "Describe this picture in one sentence.")
        ask(second, "What is this?", "")
        expect(second.get_by_text("marked")).to_be_visible()
        second.get_by_role("button", name="Same prompt for both").click()
        expect(second.get_by_label("Right: prompt")).to_have_value("What is this?")
        second.get_by_label("Right: prompt").press("Shift+Enter")
        expect(second.get_by_text("Both answers are the same")).to_be_visible()
        expect(first.get_by_text("What is only in one of the answers is marked.")).to_be_visible()
        for side in ("Left", "Right"):
            expect(answer(first, side)).to_contain_text("dog")
            expect(answer(second, side)).to_contain_text("pizza")
            expect(answer(second, side).locator("mark")).to_have_count(0)
        expect(answer(first, "Right").locator("mark").first).to_be_visible()
        expect(first.get_by_label("Left: model")).to_have_count(0)


def test_two_models_and_stop(browser: Browser, tmp_path: Path) -> None:
    with (
        two_models() as server,
        running_page(server.base_url, tmp_path) as url,
        visit(browser, url) as page,
    ):
        opened(page).get_by_label("Right: model").click()
        page.get_by_role("option", name="second").click()
        ask(page, "Who?", "Who?")
        expect(page.get_by_text("is marked")).to_be_visible()
        for side, name in (("Left", "first"), ("Right", "second")):
            expect(answer(page, side).locator("p")).to_have_text(f"I am {name}.")
            expect(answer(page, side).locator("mark")).to_have_text(name)

        ask(page, ENDLESS, ENDLESS)
        wait_until(lambda: server.num_open == 2)
        page.get_by_role("button", name="Stop", exact=True).click()
        wait_until(lambda: server.num_open == 0)
        expect(page.get_by_role("button", name="Compare", exact=True)).to_be_visible()
        expect(answer(page, "Left")).to_contain_text("I am first")


def test_what_is_wrong_stands_where_the_answer_would(
    browser: Browser, page_url: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with visit(browser, page_url) as page:
        ask(opened(page), "", "Hello")
        expect(answer(page, "Left").get_by_role("alert")).to_contain_text("nothing to ask")
        expect(answer(page, "Right").get_by_role("alert")).to_have_count(0)
        drop(page, broken)
        ask(page, "What is this?", "What is this?")
        for side in ("Left", "Right"):
            fault = answer(page, side).get_by_role("alert")
            expect(fault).to_have_text(re.compile(r"^[A-Z][^\[]* image [^\[]*\.$"))
