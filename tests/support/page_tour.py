"""A walk through the page: what a visitor does in each tab until there is something to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import octavo
from octavo.bench.drawings import all_drawings
from playwright.sync_api import Locator, Page, expect

_IMAGES = Path(octavo.__file__).parent / "examples" / "images"
_DOG, _PIZZA, _CAR, _STRAWBERRY = (
    _IMAGES / f"{name}.png" for name in ("dog", "pizza", "car", "strawberry")
)


def open_tab(page: Page, name: str) -> Locator:
    """Its panel."""
    page.get_by_role("tab", name=name, exact=True).click()
    return page.get_by_role("tabpanel").filter(visible=True)


def ask(page: Page, folder: Path) -> None:
    """A question, and where there is room for it another one about the same pictures."""
    tab = open_tab(page, "Ask")
    _send(tab, "What are these?", [_CAR, _PIZZA])
    assert page.viewport_size is not None
    if page.viewport_size["width"] > 640:
        _send(tab, "What is in the second picture?")


def caption_many(page: Page, folder: Path) -> None:
    """Pictures, and a file that is none."""
    broken = folder / "torn.png"
    broken.write_bytes(_DOG.read_bytes()[:2000])
    tab = open_tab(page, "Caption many")
    pictures = [_CAR, _DOG, _PIZZA, _STRAWBERRY, broken, *_drawings(folder)[:30:4]]
    tab.locator("input[type=file]").set_input_files(pictures)
    expect(tab.get_by_role("row").filter(has_text="torn.png")).to_be_visible()
    tab.get_by_role("button", name="Caption", exact=True).click()
    expect(tab.get_by_role("button", name="Caption again")).to_be_enabled()


def compare(page: Page, folder: Path) -> None:
    """Two prompts about one picture."""
    tab = open_tab(page, "Compare")
    tab.locator("input[type=file]").first.set_input_files(_STRAWBERRY)
    expect(tab.get_by_label("Remove Image")).to_be_visible()
    tab.get_by_role("button", name="Compare", exact=True).click()
    expect(tab.get_by_text("is marked")).to_be_visible()


def search(page: Page, folder: Path) -> None:
    """Drawings like one of them."""
    tab = open_tab(page, "Search")
    drawings = _drawings(folder)
    tab.locator("input[type=file]").first.set_input_files(drawings)
    expect(tab.get_by_text(f"{len(drawings)} pictures can be searched.")).to_be_visible()
    tab.get_by_label("number input for Most results").fill("6")
    tab.get_by_text("Search by a picture").click()
    uploads = tab.get_by_label("File upload")
    expect(uploads).to_have_count(2)
    uploads.last.set_input_files(drawings[0])
    expect(tab.get_by_label("Remove Image")).to_be_visible()
    tab.get_by_role("button", name="Search for pictures like it").click()
    expect(tab.locator(".caption-label")).to_have_count(6)


def engine(page: Page, folder: Path) -> None:
    """Half a minute of it, which the plots show at least."""
    open_tab(page, "Engine")
    page.wait_for_function("document.querySelector('[data-look]')?.dataset.look > 30")


#: By the tab's name. The path is of a folder for files to drop on it.
TOURS: dict[str, Callable[[Page, Path], None]] = {
    "Ask": ask,
    "Caption many": caption_many,
    "Compare": compare,
    "Search": search,
    "Engine": engine,
}


def _send(tab: Locator, question: str, pictures: Sequence[Path] = ()) -> None:
    answers = tab.locator(".bot.message")
    count = answers.count()
    if pictures:
        tab.get_by_test_id("file-upload").set_input_files(pictures)
        shown = tab.locator("#octavo-question").get_by_role("button", name="Remove file")
        expect(shown).to_have_count(len(pictures))
    box = tab.get_by_role("textbox", name="Ask about a picture")
    box.fill(question)
    box.press("Enter")
    expect(answers).to_have_count(count + 1)
    expect(tab.get_by_role("button", name="Regenerate")).to_be_enabled()


def _drawings(folder: Path) -> list[Path]:
    paths = []
    for drawing in all_drawings():
        name = f"{drawing.colour} {drawing.thing} on {drawing.background}.png"
        paths.append(folder / name)
        drawing.draw().save(paths[-1])
    return paths
