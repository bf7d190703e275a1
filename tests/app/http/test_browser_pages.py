"""What a server shows to browsers beside its API, before and after its model is loaded."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from octavo.app.http.errors import EXCEPTION_HANDLERS
from octavo.app.http.loading import LoadedApp, LoadingApp
from octavo.app.http.pages.browser_pages import BrowserPages
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

API = Starlette(exception_handlers=EXCEPTION_HANDLERS)
PAGE = PlainTextResponse("the page")
NAME = "<script>alert('a & b')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;a &amp; b&#x27;)&lt;/script&gt;"


def ask(app: BrowserPages, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://box:81") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(answer())


def test_the_front_page_tells_what_is_there_by_now() -> None:
    loading = LoadingApp(NAME)
    app = BrowserPages(loading, loading, None)
    with loading.waiting_for("the weights"):
        page = ask(app, "/")
    assert page.status_code == 200
    assert f"<strong>{ESCAPED}</strong> and waits for the weights." in page.text
    assert 'http-equiv="refresh"' in page.text
    alive = True
    example = ("/v1/embeddings", '{"input": "a red car"}')
    loading.open(LoadedApp(API, lambda: None, example, lambda: alive))
    page = ask(app, "/")
    assert f"<strong>{ESCAPED}</strong> and is ready." in page.text
    assert "curl http://box:81/v1/embeddings" in page.text
    assert "pip install &#x27;octavo[demo]&#x27;" in page.text.replace("'", "&#x27;")
    assert 'http-equiv="refresh"' not in page.text
    assert "<script" not in page.text
    # Nothing of elsewhere, also if a browser knows no Content-Security-Policy.
    assert set(re.findall(r"(?:href|src)=\"([^\"]*)\"", page.text)) == {
        *("/favicon.ico", "/docs", "/v1/models", "/health", "/metrics")
    }
    alive = False
    assert "whose engine is restarting" in ask(app, "/").text


@pytest.mark.parametrize("host", ['"><img src=x>', "a b", "x/y", ""])
def test_a_host_that_is_none_is_not_shown(host: str) -> None:
    loading = LoadingApp("toy")
    text = ask(BrowserPages(loading, loading, None), "/", host=host).text
    assert "<code>http://box:81/v1</code>" in text


def test_other_paths_and_methods_are_the_apis() -> None:
    loading = LoadingApp("toy")
    loading.open(LoadedApp(API, lambda: None))
    app = BrowserPages(loading, loading, None)
    for path, method in (("/nope", "GET"), ("/", "POST"), ("/ui", "GET"), ("/uix", "GET")):
        answer = ask(app, path, method)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"{method} {path} is not part of this API"
    assert ask(app, "/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert ask(app, "/", "HEAD").status_code == 200


def test_the_page_is_at_ui_and_the_root_leads_there() -> None:
    loading = LoadingApp("toy")
    app = BrowserPages(loading, loading, PAGE)
    root = ask(app, "/")
    assert (root.status_code, root.headers["location"]) == (307, "/ui")
    for path, method in (("/ui", "GET"), ("/ui/", "GET"), ("/ui/x/y", "POST")):
        assert ask(app, path, method).text == "the page"
    assert ask(app, "/uix").status_code == 503
    assert ask(app, "/favicon.ico").status_code == 200
