"""The tab "Engine": what it shows is what the server tells, asked for while someone looks."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from browser import visit
from page_process import running_page
from playwright.sync_api import Browser, Page, expect
from prometheus_client.parser import text_string_to_metric_families
from serving import chat

pytestmark = pytest.mark.browser


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Engine", exact=True).click()


def series(text: str) -> dict[str, float]:
    """By name and the values of labels."""
    return {
        ":".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def looks(base: str) -> float:
    """How often the server was asked for its metrics, without this time."""
    metrics = series(httpx.get(f"{base}/metrics").text)
    return metrics.get("octavo:http_requests_total:/metrics:GET:200", 0)


def number(page: Page) -> int:
    shown = page.locator("[data-look]").get_attribute("data-look")
    assert shown is not None
    return int(shown)


def test_values_are_the_servers(browser: Browser, server_url: str, page_url: str) -> None:
    chat(server_url, "a question of some blocks " * 20, max_tokens=20, ignore_eos=True)
    chat(server_url, "a question of some blocks " * 20, max_tokens=20, ignore_eos=True)
    told = series(httpx.get(f"{server_url}/metrics").text)
    blocks = {s: f"{told[f'octavo:kv_blocks:{s}']:,.0f}" for s in ("used", "cached", "free")}
    hits, queries = (told[f"octavo:prefix_cache_{n}_total"] for n in ("hits", "queries"))
    assert hits > 0
    with visit(browser, page_url) as page:
        open_tab(page)
        for label, name in (
            ("Running", "num_requests_running"),
            ("Waiting", "num_requests_waiting"),
            ("Images encoded", "encoder_runs_total"),
            ("Preemptions", "num_preemptions_total"),
        ):
            tile = page.locator(".octavo-tiles div").filter(has_text=label)
            expect(tile.locator("dd")).to_have_text(f"{told[f'octavo:{name}']:,.0f}")
        strip = ", ".join(f"{count} {state}" for state, count in blocks.items())
        expect(page.get_by_role("img", name=f"KV blocks: {strip}")).to_be_visible()
        expect(page.get_by_text(f"{hits:,.0f} of {queries:,.0f} tokens")).to_be_visible()
        # More than one look, and tokens between two of them.
        first = number(page)
        chat(server_url, max_tokens=20, ignore_eos=True)
        page.wait_for_function(f"+document.querySelector('[data-look]').dataset.look > {first + 1}")
        for label in ("Tokens out a second", "Tokens in a second"):
            plot = page.get_by_role("img", name=re.compile(rf"^{label}: now .*, at most [^0]"))
            expect(plot.locator("polyline")).to_have_count(1)
        expect(page.get_by_text("octavo-demo", exact=True)).to_have_count(2)
        page.get_by_text("Kernels").click()
        expect(page.get_by_role("row", name=re.compile("paged_attention"))).to_be_visible()
        page.get_by_text("Plugins").press("Enter")
        plugin = page.get_by_role("row", name=re.compile("models.llama"))
        expect(plugin).to_contain_text("LlamaForCausalLM")
        # What a reader has opened stays so.
        second = number(page)
        page.wait_for_function(f"+document.querySelector('[data-look]').dataset.look > {second}")
        expect(plugin).to_be_visible()


def test_visitors_share_looks_and_nobody_looks_unseen(
    browser: Browser, server_url: str, page_url: str
) -> None:
    with visit(browser, page_url) as one, visit(browser, page_url) as other:
        open_tab(one)
        open_tab(other)
        one.wait_for_selector("[data-look]")
        other.wait_for_selector("[data-look]")
        start, asked = number(one), looks(server_url)
        for page in (one, other):
            page.wait_for_function(
                f"+document.querySelector('[data-look]').dataset.look > {start + 3}"
            )
        # As often as there were looks, one that is under way at either end, and once by the test.
        told = looks(server_url) - asked
        assert abs(told - (max(number(one), number(other)) - start)) <= 3, told

        one.get_by_role("tab", name="Ask", exact=True).click()
        other.evaluate(
            "Object.defineProperty(document, 'visibilityState', {value: 'hidden'});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        # A look that is under way comes to its end.
        one.wait_for_timeout(2500)
        asked = looks(server_url)
        one.wait_for_timeout(2500)
        assert looks(server_url) - asked == 1  # the test's own
        open_tab(one)
        shown = number(one)
        one.wait_for_function(f"+document.querySelector('[data-look]').dataset.look > {shown}")


OCTAVOS = """\
# TYPE octavo_build_info gauge
octavo_build_info{version="1"} 1
# TYPE octavo:num_requests_running gauge
octavo:num_requests_running 42
"""


class Handler(BaseHTTPRequestHandler):
    """Another server at first; then one of Octavo's, of an older version, without /info."""

    metrics: str | None = None

    def do_GET(self) -> None:
        found = {"/v1/models": '{"data": [{"id": "some-model"}]}'}
        if self.metrics:
            found |= {"/metrics": self.metrics, "/health": "{}"}
        body = found.get(self.path)
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write((body or "").encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_troubles_are_sentences_and_pass(browser: Browser, tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    base = "http://{}:{}".format(*server.server_address)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    with running_page(base, tmp_path) as url, visit(browser, url) as page:
        try:
            open_tab(page)
            told = re.compile("not one of Octavo's: it tells nothing")
            expect(page.locator(".octavo-trouble")).to_have_text(told)
            Handler.metrics = OCTAVOS
            expect(page.locator(".octavo-tiles dd")).to_have_text("42")
            expect(page.locator(".octavo-trouble")).to_have_count(0)
        finally:
            server.shutdown()
            serving.join()
            server.server_close()
        gone = re.compile("server can't be reached")
        expect(page.locator(".octavo-trouble")).to_have_text(gone)
        expect(page.locator(".octavo-stale dd")).to_have_text("42")
