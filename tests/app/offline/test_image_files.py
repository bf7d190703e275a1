"""Messages with images as the server takes them: every way to name a file shows the same image."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import octavo
import pytest
from octavo import LLM, AsyncLLM, RequestError, SamplingParams
from octavo.app.offline.pictures import load_picture
from octavo.core.protocol.config import ConfigError
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image

DOG = Path(octavo.__file__).parent / "examples" / "images" / "dog.png"
GREEDY = SamplingParams(temperature=0, max_tokens=8)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Serves the pictures' folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(DOG.parent))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def llm(host: str) -> Iterator[LLM]:
    with LLM(
        dtype="float32",
        kv_cache_memory=64 * 2**20,
        allowed_media_domains=[host],
        allowed_media_networks=["127.0.0.0/8"],
    ) as llm:
        yield llm


def ask(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}]


def named(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def ways(host: str) -> dict[str, dict[str, Any]]:
    encoded = base64.b64encode(DOG.read_bytes()).decode()
    urls = {
        "data": f"data:image/png;base64,{encoded}",
        "file": DOG.as_uri(),
        "http": f"http://{host}/{DOG.name}",
    }
    return {
        "path": {"type": "image", "image": DOG},
        **{f"image_url {name}": named(url) for name, url in urls.items()},
        **{f"image {name}": {"type": "image", "image": url} for name, url in urls.items()},
    }


@pytest.mark.parametrize("way", ways(""))
def test_every_way_to_name_a_file_shows_the_same(llm: LLM, host: str, way: str) -> None:
    shown, wanted = (
        llm.prepare_chat(ask(part), GREEDY) for part in (ways(host)[way], ways(host)["path"])
    )
    assert shown.prompt_token_ids == wanted.prompt_token_ids
    assert [item.media_key for item in shown.media] == [item.media_key for item in wanted.media]
    (answer,) = llm.chat(ask(ways(host)[way]), GREEDY)
    assert "dog" in answer.outputs[0].text


def test_a_url_is_fetched_from_within_an_event_loop(llm: LLM, host: str) -> None:
    async def chat() -> str:
        (answer,) = llm.chat(ask(ways(host)["image_url http"]), GREEDY)
        return answer.outputs[0].text

    assert "dog" in asyncio.run(chat())


def test_several_urls_are_fetched_at_once_for_async_llm(host: str) -> None:
    async def chat() -> list[str]:
        async with AsyncLLM(
            dtype="float32",
            kv_cache_memory=64 * 2**20,
            allowed_media_domains=[host],
            allowed_media_networks=["127.0.0.0/8"],
        ) as llm:
            question = ask(ways(host)["image_url http"])
            answers = await asyncio.gather(*(llm.chat(question, GREEDY) for _ in range(4)))
        return [answer.outputs[0].text for (answer,) in answers]

    assert len(set(asyncio.run(chat()))) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://{host}/no.png", "status 404"),
        ("http://other.example/a.png", "add it to allowed_media_domains"),
        ("file:///no/such.png", "file:///no/such.png can't be read: No such file"),
        ("file://dog.png", "expected a file: URL with a full path (file:///folder/image.png)"),
        ("dog.png", 'give a path as {"type": "image", "image": path}'),
        ("ftp://example.com/a.png", "begins with data:, file:, http: or https:"),
    ],
)
def test_a_wrong_url_is_named_with_what_to_do(llm: LLM, host: str, url: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        llm.chat(ask(named(url.format(host=host))), GREEDY)
    assert words in str(caught.value)
    assert caught.value.param == "messages[0].content[0].image_url"


def test_nothing_is_fetched_unless_hosts_are_named(offline: LLM) -> None:
    with pytest.raises(RequestError, match=r'allowed_media_domains=\["example.com"\]'):
        offline.chat(ask(named("https://example.com/a.png")), GREEDY)


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_media_domains": "example.com"},
        {"allowed_media_domains": ["https://example.com"]},
        {"allowed_media_domains": ["example.com"], "allowed_media_networks": ["10.1"]},
    ],
)
def test_hosts_that_cannot_be_read_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed_media"):
        LLM(**settings)


def test_pictures_to_embed_may_be_urls_of_files() -> None:
    limits = MediaLimits()
    with Image.open(DOG) as wanted:
        assert load_picture(DOG.as_uri(), "x", limits).tobytes() == wanted.convert("RGB").tobytes()
