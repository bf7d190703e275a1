"""The page about a server that does what no real one does on demand."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import set_slider, visit
from octavo.app import DEMO_MODEL
from page_process import running_page
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from scripted_server import Script, scripted_server
from serving import wait_until

pytestmark = pytest.mark.browser

DOG = Path(DEMO_MODEL).parent / "doctor" / "dog.png"
PIZZA = Path(DEMO_MODEL).parent / "page" / "ask" / "pictures" / "pizza.png"


@pytest.fixture(scope="module")
def server() -> Iterator[Script]:
    with scripted_server() as made:
        yield made


@pytest.fixture
def script(server: Script) -> Script:
    """As it is at first, but for its address."""
    vars(server).update(vars(Script(address=server.address)))
    server.go_on.set()
    return server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page has its files."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def url(browser: Browser, server: Script, folder: Path) -> Iterator[str]:
    with running_page(server.address, folder) as address:
        yield address


def send(page: Page, question: str) -> None:
    box = page.get_by_role("textbox", name="Ask about a picture")
    box.fill(question)
    box.press("Enter")


def test_an_answer_grows_and_is_stopped_by_escape(
    browser: Browser, url: str, script: Script
) -> None:
    script.pieces = ["Once upon", " a time"]
    script.go_on.clear()
    with visit(browser, url) as page:
        box = page.get_by_role("textbox", name="Ask about a picture")
        box.press_sequentially("one")
        box.press("Shift+Enter")
        box.press_sequentially("two")
        box.press("Enter")
        page.get_by_text("Once upon").wait_for()
        page.get_by_role("button", name="Stop").wait_for()
        # Asked now, a question waits in its box.
        send(page, "three")
        page.keyboard.press("Escape")
        page.get_by_text("Stopped.").wait_for()
        assert script.left.wait(60)
        assert box.input_value() == "three"
        assert len(script.asked) == 1
        assert script.asked[0]["messages"][0]["content"][-1]["text"] == "one\ntwo"
        assert page.locator(".bot.message").inner_text().startswith("Once upon\n")


def test_two_visitors_have_their_own_conversations(
    browser: Browser, url: str, script: Script, folder: Path
) -> None:
    script.pieces = ["Part", " and rest"]
    script.go_on.clear()
    with visit(browser, url) as ann:
        with visit(browser, url) as ben:
            for page in (ann, ben):
                page.get_by_test_id("file-upload").set_input_files(DOG)
                page.get_by_role("button", name="Remove file").wait_for(state="attached")
            send(ann, "of Ann")
            ann.get_by_text("Part").wait_for()
            # Neither waits for the other.
            send(ben, "of Ben")
            ben.get_by_text("Part").wait_for()
            script.go_on.set()
            for page, mine, other in ((ann, "of Ann", "of Ben"), (ben, "of Ben", "of Ann")):
                page.get_by_text("Part and rest").wait_for()
                assert page.get_by_text(mine).count() == 1
                assert page.get_by_text(other).count() == 0
        # They had the same picture, and one of them is still here.
        send(ann, "again")
        ann.get_by_text("Part and rest").nth(1).wait_for()
        assert ann.get_by_role("alert").count() == 0
        ann.get_by_test_id("file-upload").set_input_files(PIZZA)
        ann.get_by_role("button", name="Remove file").wait_for(state="attached")
        assert files(folder)
    wait_until(lambda: not files(folder))


def test_html_of_a_model_does_not_run(browser: Browser, url: str, script: Script) -> None:
    evil = (
        "<script>document.title='bad'</script><img src=x onerror=\"document.title='bad'\">"
        "<style>body{display:none}</style><div style='position:fixed'>over</div>"
        "<iframe src='javascript:parent.document.title=1'></iframe>\n\n"
        "![gone](http://example.com/a.png) [click](javascript:document.title='bad')\n\n"
        "```html\n<b>code</b>\n```\n\n**bold** `<i>` 1 < 2"
    )
    script.pieces = [evil]
    script.timings = {"queue_ms": 1, "decode_ms": 3, "images": [{"source": "<b>tier</b>"}]}
    with visit(browser, url) as page:
        send(page, evil)
        page.get_by_role("img", name="It took 4.0 ms").wait_for()
        answer = page.locator(".bot.message")
        assert answer.locator("script, style, iframe, div[style*=fixed]").count() == 0
        assert answer.locator("img, .octavo-timings b:text('tier')").count() == 0
        assert page.locator(".user.message").locator("script, style, iframe, img").count() == 0
        assert "<script>document.title='bad'</script><img src=x" in answer.inner_text()
        assert "<b>code</b>" in answer.locator("pre").inner_text()
        assert answer.locator("strong").inner_text() == "bold"
        link = answer.get_by_text("click")
        assert "javascript" not in (link.get_attribute("href") or "")
        assert page.title() == "Octavo"


def test_who_leaves_waits_for_no_answer(browser: Browser, url: str, script: Script) -> None:
    script.pieces = ["Part", " and rest"]
    script.go_on.clear()
    with visit(browser, url) as page:
        send(page, "Hello")
        page.get_by_text("Part").wait_for()
    assert script.left.wait(60)


def test_a_server_that_breaks_off_and_loads(browser: Browser, url: str, script: Script) -> None:
    script.pieces, script.breaks_off = ["Half of", "it"], True
    script.models[0]["id"] = "<b>bold</b>"
    with visit(browser, url) as page:
        page.get_by_text("<b>bold</b>", exact=True).wait_for()
        send(page, "Hello")
        page.get_by_role("alert").filter(has_text="The server broke off").wait_for()
        page.get_by_text("Half of").wait_for()
    script.loading = True
    with visit(browser, url) as page:
        page.get_by_text("Scripted is loading.").wait_for()
        script.loading = False
        page.get_by_text("<b>bold</b>", exact=True).wait_for()


def test_what_is_asked_again_and_anew(browser: Browser, url: str, script: Script) -> None:
    with visit(browser, url) as page:
        for number, question in enumerate(("one", "two"), 1):
            send(page, question)
            answered(page, number)
        page.get_by_role("button", name="Regenerate").click()
        wait_until(lambda: len(script.asked) == 3)
        answered(page, 2)
        page.get_by_role("button", name="New conversation").click()
        expect(page.locator(".message")).to_have_count(0)
        send(page, "three")
        answered(page, 1)
    one, two, again, three = (said(body) for body in script.asked)
    assert one == [("user", "one")]
    assert two == [("user", "one"), ("assistant", "Yes."), ("user", "two")]
    assert again == two
    assert three == [("user", "three")]


def test_settings_are_in_what_is_asked(browser: Browser, url: str, script: Script) -> None:
    with visit(browser, url) as page:
        page.get_by_role("button", name="Settings").first.click()
        page.get_by_label("System prompt").first.fill("Be brief.")
        for label, value in (("Most tokens", "9"), ("Temperature", "0.7"), ("Top p", "0.9")):
            set_slider(page, label, value)
        page.get_by_role("spinbutton", name="Top k").first.fill("3")
        page.get_by_label("Seed").first.fill("7")
        send(page, "Hello")
        answered(page, 1)
    (body,) = script.asked
    assert said(body) == [("system", "Be brief."), ("user", "Hello")]
    fields = {"max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "top_k": 3, "seed": 7}
    assert body.items() >= fields.items()


def test_by_keyboard_alone(browser: Browser, url: str, script: Script) -> None:
    script.pieces = ["Once", " more"]
    script.go_on.clear()
    with visit(browser, url) as page:
        tab_to(page, page.get_by_role("tab", name="Ask", exact=True))
        tab_to(page, page.get_by_role("textbox", name="Ask about a picture"))
        page.keyboard.type("Hello")
        page.keyboard.press("Enter")
        page.get_by_text("Once").wait_for()
        page.keyboard.press("Escape")
        page.get_by_text("Stopped.").wait_for()
        script.go_on.set()
        tab_to(page, page.get_by_role("button", name="Regenerate"))
        page.keyboard.press("Enter")
        page.get_by_text("Once more").wait_for()
    assert [said(body) for body in script.asked] == [[("user", "Hello")]] * 2


def test_a_picture_from_the_clipboard(browser: Browser, url: str, script: Script) -> None:
    with visit(browser, url) as page:
        box = page.get_by_role("textbox", name="Ask about a picture")
        box.evaluate(PASTE, base64.b64encode(DOG.read_bytes()).decode())
        page.get_by_role("button", name="Remove file").wait_for(state="attached")
        box.press("Enter")
        answered(page, 1)
    assert picture_in(script.asked[0]) == DOG.read_bytes()


def test_a_picture_from_the_camera(browser: Browser, url: str, script: Script) -> None:
    with visit(browser, url) as page:
        page.get_by_role("button", name="Camera").click()
        page.get_by_role("button", name="Click to Access Webcam").click()
        page.wait_for_function("document.querySelector('video').currentTime > 0")
        page.get_by_label("capture photo").click()
        page.get_by_role("button", name="Remove file").wait_for(state="attached")
        send(page, "What do you see?")
        answered(page, 1)
    assert said(script.asked[0]) == [("user", "What do you see?")]
    with Image.open(io.BytesIO(picture_in(script.asked[0]))) as taken:
        # More than one colour: the test pattern, not a black picture.
        assert taken.convert("RGB").getcolors(1) is None


#: What a browser does when a picture is pasted. Its own clipboard can't be filled without a user.
PASTE = """(box, encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "dog.png", {type: "image/png"}));
  box.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
}"""


def answered(page: Page, count: int) -> None:
    """Wait for so many answers in all, and for the last one's end."""
    expect(page.locator("#octavo-chat .bot.message")).to_have_count(count)
    expect(page.get_by_role("button", name="Regenerate")).to_be_enabled()


def tab_to(page: Page, place: Locator) -> None:
    for _ in range(30):
        page.keyboard.press("Tab")
        if place.evaluate("(element) => element === document.activeElement"):
            return
    pytest.fail("the Tab key does not lead there")


def said(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Who says what, without pictures."""
    return [
        (message["role"], content if isinstance(content, str) else content[-1]["text"])
        for message in body["messages"]
        for content in (message["content"],)
    ]


def picture_in(body: dict[str, Any]) -> bytes:
    url: str = body["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.partition("base64,")[2])


def files(folder: Path) -> list[Path]:
    """Those that hold something of visitors."""
    return [path for path in folder.rglob("*") if path.is_file()]
