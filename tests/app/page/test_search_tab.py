"""The tab "Search": pictures by a text or by a picture, about a server that gives embeddings."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import octavo
import pytest
from browser import visit
from page_process import running_page
from playwright.sync_api import Browser, Locator, Page, expect
from serving import metric, running_server
from tiny_clip import save_clip

pytestmark = pytest.mark.browser

IMAGES = Path(octavo.__file__).parent / "examples" / "images"
NAMES = ("car.png", "dog.png", "pizza.png", "strawberry.png")


@pytest.fixture(scope="module")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = save_clip(tmp_path_factory.mktemp("models") / "tiny-clip")
    with running_server(str(folder), "--media-workers=1") as base:
        yield base


@pytest.fixture(scope="module")
def clip_url(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_page(server, tmp_path_factory.mktemp("page")) as url:
        yield url


def panel(page: Page) -> Locator:
    page.get_by_role("tab", name="Search", exact=True).click()
    return page.get_by_role("tabpanel").filter(visible=True)


def vectors(server: str, given: list[Any]) -> np.ndarray:
    answer = httpx.post(f"{server}/v1/embeddings", json={"input": given}, timeout=240).json()
    return np.array([entry["embedding"] for entry in answer["data"]])


def part(path: Path) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def ranking(server: str, query: Any) -> list[str]:
    """The captions that are expected."""
    known = vectors(server, [part(IMAGES / name) for name in NAMES])
    scores = known @ vectors(server, [query])[0] / np.linalg.norm(known, axis=1)
    return [f"{scores[i]:.3f} {NAMES[i]}" for i in np.argsort(-scores)]


def expect_found(tab: Locator, captions: list[str]) -> None:
    expect(tab.locator(".caption-label")).to_have_text(captions)


def test_pictures_by_text_and_by_picture(
    browser: Browser, clip_url: str, server: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with visit(browser, clip_url) as page:
        tab = panel(page)
        search = tab.get_by_role("button", name="Search", exact=True)
        words = tab.get_by_label("Search for", exact=True)
        search.click()
        expect(page.get_by_text("Write what to search for first.")).to_be_visible()
        words.fill("a red car")
        search.click()
        expect(page.get_by_text("There is nothing to search yet")).to_be_visible()

        files = tab.get_by_label("File upload").first
        files.set_input_files([IMAGES / NAMES[0], IMAGES / NAMES[1], broken])
        expect(tab.get_by_text("2 pictures can be searched. 1 picture can't be:")).to_be_visible()
        expect(tab.get_by_role("listitem")).to_contain_text("broken.png: ")
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in NAMES:
            shutil.copy(IMAGES / name, folder)
        before = metric(server, "e2e_request_latency_seconds_count")
        tab.get_by_test_id("Add a folder-upload-button").set_input_files(folder)
        expect(tab.get_by_text("4 pictures can be searched.")).to_be_visible()
        assert metric(server, "e2e_request_latency_seconds_count") == before + 2

        words.press("Enter")
        expect_found(tab, ranking(server, "a red car"))
        tab.get_by_text("Search by a picture").click()
        expect(tab.get_by_label("File upload")).to_have_count(2)
        with page.expect_response(lambda response: "/upload" in response.url):
            tab.get_by_label("File upload").last.set_input_files(IMAGES / "dog.png")
        expect(tab.get_by_label("Remove Image")).to_be_visible()
        tab.get_by_role("button", name="Search for pictures like it").click()
        expect_found(tab, ranking(server, part(IMAGES / "dog.png")))

        with visit(browser, clip_url) as other:
            expect(panel(other).get_by_text("0 pictures can be searched.")).to_be_visible()
        tab.get_by_role("button", name="Forget all").click()
        expect(tab.get_by_text("0 pictures can be searched.")).to_be_visible()
        expect(tab.locator(".caption-label")).to_have_count(0)
