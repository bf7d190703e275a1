"""The tab "Ask", about a server of the demo model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import randbytes

import pytest
from browser import visit
from octavo.app import DEMO_MODEL
from PIL import Image
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PICTURES = Path(DEMO_MODEL).parents[1] / "examples" / "images"


def ask(page: Page, question: str, pictures: Sequence[Path] = ()) -> str:
    """What is answered to it, sent by the Enter key."""
    answers = page.locator("#octavo-chat .bot.message")
    count = answers.count()
    if pictures:
        page.get_by_test_id("file-upload").set_input_files(pictures)
        shown = page.locator("#octavo-question").get_by_role("button", name="Remove file")
        shown.nth(len(pictures) - 1).wait_for(state="attached")
    box = page.get_by_role("textbox", name="Ask about a picture")
    box.fill(question)
    box.press("Enter")
    answers.nth(count).wait_for()
    page.get_by_role("button", name="Regenerate", disabled=False).wait_for()
    return answers.nth(count).inner_text()


def test_pictures_are_asked_about_and_asked_about_again(browser: Browser, page_url: str) -> None:
    with visit(browser, page_url) as page:
        first = ask(page, "What are these?", [PICTURES / "car.png", PICTURES / "pizza.png"])
        assert "car" in first
        assert "pizza" in first
        assert "tokens in" in first
        assert page.locator("#octavo-chat .user.message img").count() == 2
        # What was said before is known to the model.
        assert "pizza" in ask(page, "What is in the second picture?")
        page.get_by_role("button", name="New conversation").click()
        page.get_by_role("button", name="Select example 3").click()
        answer = page.locator("#octavo-chat .bot.message")
        answer.wait_for()
        page.get_by_role("button", name="Regenerate", disabled=False).wait_for()
        assert "second image" in answer.inner_text()


def test_what_can_not_be_answered_is_said(browser: Browser, page_url: str, tmp_path: Path) -> None:
    broken, empty, paper, huge = (
        tmp_path / name for name in ("broken.png", "empty.png", "paper.pdf", "huge.png")
    )
    broken.write_bytes((PICTURES / "dog.png").read_bytes()[:3000])
    empty.write_bytes(b"")
    paper.write_bytes(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer<<>>\n%%EOF\n")
    Image.new("1", (10_000, 6000)).save(huge)
    noise = [tmp_path / f"noise {n}.png" for n in range(3)]
    for path in noise:
        Image.frombytes("RGB", (350, 350), randbytes(350 * 350 * 3)).save(path)
    many = [tmp_path / f"{n}.png" for n in range(40)]
    for n, path in enumerate(many):
        Image.new("RGB", (8, 8), (n, n, n)).save(path)
    with visit(browser, page_url) as page:
        assert "Picture 1: " in ask(page, "What is this?", [broken])
        assert "not an image" in ask(page, "What is this?", [empty])
        assert "not an image in a known format" in ask(page, "What is this?", [paper])
        assert "pixels" in ask(page, "What is this?", [huge])
        assert "more than the server takes at once" in ask(page, "What are these?", noise)
        assert "tokens" in ask(page, "What is this?", many)
        assert "no room for an answer" in ask(page, "word " * 3000)
        alerts = page.get_by_role("alert")
        assert alerts.count() == 7
        for said in alerts.all_inner_texts():
            assert said[0].isupper()
            assert said.endswith(".")
        # None of it is in the way of what comes next.
        assert "dog" in ask(page, "What is this?", [PICTURES / "dog.png"])


def test_settings_are_sent(browser: Browser, page_url: str) -> None:
    with visit(browser, page_url, viewport={"width": 390, "height": 844}) as page:
        page.get_by_role("button", name="Settings").first.click()
        page.get_by_role("spinbutton", name="Most tokens").first.fill("2")
        page.get_by_label("System prompt").first.fill("You are helpful.")
        page.get_by_role("spinbutton", name="Top k").first.fill("3")
        seed = page.get_by_label("Seed").first
        seed.fill("7")
        said = ask(page, "What is this?", [PICTURES / "dog.png"])
        assert "Cut off" in said
        assert "2 out" in said
        seed.fill("seven")
        page.get_by_role("textbox", name="Ask about a picture").fill("Again")
        page.get_by_role("button", name="Submit").first.click()
        page.get_by_text("The seed is no whole number").wait_for()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
