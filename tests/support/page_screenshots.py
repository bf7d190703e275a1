"""Screenshots of the page for docs/page.md: each tab on a desk and on a phone, light and dark."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import octavo
from browser import chromium, visit
from page_process import is_there
from page_tour import TOURS
from PIL import Image
from playwright.sync_api import Browser, Page
from serving import chat, running_server, wait_until
from tiny_clip import save_clip

_FOLDER = Path(octavo.__file__).parent / "docs" / "page"
_SIZES = {"desktop": (1280, 1000), "phone": (390, 844)}
#: Milliseconds until the other theme is seen as it is.
_FADING = 600
_CLIENTS = 4


def main() -> None:
    """Write them all."""
    _FOLDER.mkdir(exist_ok=True)
    with chromium() as browser, TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with running_server("--ui", "--kv-cache-memory=64MiB", log=log) as base:
            _show(browser, base, folder, "Ask", "Caption many", "Compare")
            with _traffic(base):
                _show(browser, base, folder, "Engine")
        # Of random weights: which pictures are alike in their colours is found all the same.
        clip = save_clip(Path(folder, "tiny-clip"))
        with running_server(str(clip), "--ui", "--media-workers=1", log=log) as base:
            _show(browser, base, folder, "Search")


def _show(browser: Browser, base: str, folder: str, *tabs: str) -> None:
    url = f"{base}/ui/"
    wait_until(lambda: is_there(url))
    for size, (width, height) in _SIZES.items():
        with visit(browser, url, viewport={"width": width, "height": height}) as page:
            for tab in tabs:
                TOURS[tab](page, Path(folder))
                page.mouse.move(0, 0)
                for scheme in ("dark", "light"):
                    page.emulate_media(color_scheme=scheme)
                    page.wait_for_timeout(_FADING)
                    _save(page, f"{tab.lower().replace(' ', '-')}-{size}-{scheme}.webp")


def _save(page: Page, name: str) -> None:
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        image.convert("RGB").save(_FOLDER / name, lossless=True, quality=100, method=6)


@contextmanager
def _traffic(base: str) -> Iterator[None]:
    """Questions of some clients, each of which waits for its answer and then a while."""
    over = threading.Event()

    def client(seed: int) -> None:
        draw = random.Random(seed)
        while not over.wait(draw.expovariate(1)):
            question = f"{draw.random()} " * draw.randint(1, 20)
            chat(base, question, max_tokens=draw.randint(20, 300), ignore_eos=True)

    with ThreadPoolExecutor(_CLIENTS) as clients:
        asking = [clients.submit(client, seed) for seed in range(_CLIENTS)]
        try:
            yield
        finally:
            over.set()
    for each in asking:
        each.result()


if __name__ == "__main__":
    main()
