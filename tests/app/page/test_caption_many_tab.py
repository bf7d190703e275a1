"""The tab "Caption many" in a browser."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import octavo
import pytest
from browser import set_slider, visit
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

pytestmark = pytest.mark.browser

EXAMPLES = Path(octavo.__file__).parent / "examples" / "images"
#: Milliseconds that what is expected may take: machines are shared.
expect.set_options(timeout=60_000)
NAMES = ("car", "dog", "pizza", "strawberry")


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Page]:
    with visit(browser, url) as page:
        page.get_by_role("tab", name="Caption many").click()
        yield page


def file(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def picture(name: str) -> bytes:
    return (EXAMPLES / f"{name}.png").read_bytes()


def tab(page: Page) -> Locator:
    return page.get_by_role("tabpanel").filter(has=button(page, "Clear"))


def drop(page: Page, *files: FilePayload) -> None:
    tab(page).locator("input[type=file]").set_input_files(list(files))


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def rows(page: Page) -> Locator:
    return page.get_by_role("region", name="Pictures and captions").get_by_role("row")


def row(page: Page, name: str) -> Locator:
    return rows(page).filter(has_text=name)


def ends(page: Page) -> None:
    expect(button(page, "Caption again")).to_be_enabled(timeout=240_000)


def saved(page: Page, name: str) -> bytes:
    with page.expect_download() as started:
        page.get_by_role("button", name=name).click()
    return started.value.path().read_bytes()


def test_twenty_pictures_with_broken_ones_and_each_download(
    browser: Browser, page_url: str
) -> None:
    large = io.BytesIO()
    Image.new("1", (10_000, 6000)).save(large, "PNG")
    odd = "<b>bö\nld<i> 😀.png"
    bad = {
        "broken.png": picture("car")[:200],
        "paper.pdf": b"%PDF-1.7",
        "empty.jpg": b"",
        "large.png": large.getvalue(),
    }
    good = {f"{name}{number}.png": picture(name) for number in range(4) for name in NAMES}
    good[odd] = good.pop("car0.png")
    with opened(browser, page_url) as page:
        drop(page, *(file(name, data) for name, data in {**good, **bad}.items()))
        expect(row(page, "paper.pdf")).to_contain_text("a PDF document rather than a picture")
        expect(row(page, "empty.jpg")).to_contain_text("the file is empty")
        button(page, "Caption").click()
        ends(page)
        expect(page.get_by_text("20 of 20")).to_be_visible()
        expect(page.get_by_text("4 failed")).to_be_visible()
        expect(row(page, "dog1.png")).to_contain_text("dog")
        expect(row(page, "dog1.png").locator("img")).to_have_attribute(
            "src", re.compile("^data:image/webp;base64,")
        )
        expect(row(page, "broken.png")).to_contain_text("image")
        expect(row(page, "large.png")).to_contain_text("pixels")
        expect(page.get_by_text("ld<i> 😀.png")).to_be_visible()
        objects = list(map(json.loads, saved(page, "JSONL").decode().splitlines()))
        cells = list(csv.DictReader(io.StringIO(saved(page, "CSV").decode("utf-8-sig"))))
        with zipfile.ZipFile(io.BytesIO(saved(page, "Sidecars"))) as archive:
            sidecars = {name: archive.read(name).decode() for name in archive.namelist()}
    captions = {each["file"]: each["caption"] for each in objects if "caption" in each}
    assert captions.keys() == good.keys()
    assert {each["file"] for each in objects if "error" in each} == bad.keys()
    assert {each["file"]: each["caption"] for each in cells if each["caption"]} == captions
    assert len(sidecars) == len(good)
    assert sidecars["dog1.txt"] == captions["dog1.png"] + "\n"


def test_a_zip_is_stopped_and_gone_on_with(browser: Browser, page_url: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(60):
            archive.writestr(f"sub/{number}.png", noise(number))
        archive.writestr("notes.txt", "not a picture")
    with opened(browser, page_url) as page:
        drop(page, file("many.zip", packed.getvalue()))
        expect(page.get_by_text("Left out of many.zip: 1 .txt files.")).to_be_visible()
        expect(rows(page)).to_have_count(61)
        button(page, "Caption").click()
        button(page, "Stop").click()
        again = page.get_by_role("button", name=re.compile(r"^(Caption|Go on \(\d+ left\))$"))
        expect(again).to_be_enabled()
        expect(button(page, "Stop")).to_be_disabled()
        expect(page.get_by_text("60 of 60")).to_be_hidden()
        again.click()
        ends(page)
        expect(page.get_by_text("60 of 60")).to_be_visible()
        with zipfile.ZipFile(io.BytesIO(saved(page, "Sidecars"))) as archive:
            assert sorted(archive.namelist()) == sorted(f"sub/{n}.txt" for n in range(60))
        button(page, "Clear").click()
        expect(rows(page)).to_have_count(0)
        expect(button(page, "Caption")).to_be_enabled()


def test_more_at_once_than_the_server_takes_in_a_request(browser: Browser, page_url: str) -> None:
    files = [file(f"{number}.png", noise(number, side=160)) for number in range(20)]
    assert sum(len(each["buffer"]) for each in files) > 2**20
    with opened(browser, page_url) as page:
        drop(page, *files)
        expect(rows(page)).to_have_count(21)
        button(page, "Caption").click()
        ends(page)
        expect(page.get_by_text("20 of 20")).to_be_visible()
        expect(page.get_by_text("failed")).to_be_hidden()


def test_two_visitors_have_their_own(browser: Browser, page_url: str) -> None:
    with opened(browser, page_url) as one, opened(browser, page_url) as other:
        drop(one, file("mine.png", picture("dog")), file("mine too.png", picture("car")))
        drop(other, file("yours.png", picture("pizza")))
        for page in (one, other):
            expect(row(page, ".png").first).to_be_visible()
            button(page, "Caption").click()
        for page in (one, other):
            ends(page)
        expect(row(one, "mine.png")).to_contain_text("dog")
        expect(row(other, "yours.png")).to_contain_text("pizza")
        expect(one.get_by_text("2 of 2")).to_be_visible()
        expect(one.get_by_text("yours.png")).to_have_count(0)
        assert [json.loads(saved(other, "JSONL"))["file"]] == ["yours.png"]


def test_what_is_missing_is_asked_for_and_settings_hold(browser: Browser, page_url: str) -> None:
    with opened(browser, page_url) as page:
        button(page, "Caption").click()
        expect(page.get_by_text("Drop pictures or a zip archive of them first.")).to_be_visible()
        drop(page, file("dog.png", picture("dog")))
        expect(row(page, "dog.png")).to_be_visible()
        prompt = tab(page).get_by_label("Prompt")
        prompt.fill(" ")
        button(page, "Caption").click()
        expect(page.get_by_text("Write a prompt first.")).to_be_visible()
        prompt.fill("Describe this picture.")
        tab(page).get_by_role("button", name="Settings").click()
        set_slider(tab(page), "Most tokens", "1")
        button(page, "Caption").click()
        ends(page)
        expect(row(page, "dog.png")).to_contain_text("cut off")


def noise(seed: int, side: int = 32) -> bytes:
    """A picture like no other, which can't be compressed."""
    made = io.BytesIO()
    pixels = random.Random(seed).randbytes(side * side * 3)
    Image.frombytes("RGB", (side, side), pixels).save(made, "PNG")
    return made.getvalue()
