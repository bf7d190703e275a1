"""Every field is honoured, harmless or refused by its name; bad bodies get 400."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from octavo.app.http.chat.chat_fields import CHAT_FIELDS
from serving import chat

GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


def post(base: str, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{base}/v1/chat/completions", content=body, headers=headers, timeout=240)


def test_harmless_fields_change_nothing(url: str) -> None:
    expected = chat(url, max_tokens=4, temperature=0).json()["choices"]
    given = dict.fromkeys(CHAT_FIELDS.harmless, "x")
    assert chat(url, max_tokens=4, temperature=0, **given).json()["choices"] == expected


@pytest.mark.parametrize("name", [*CHAT_FIELDS.refused, *CHAT_FIELDS.fixed, "zzz"])
def test_what_is_not_honoured_is_named(url: str, name: str) -> None:
    answer = chat(url, **{name: "xml"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name


def nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"caf\xe9"}]}',
        b'{"messages":[{"role":"user","content":"\\ud83d"}]}',
        b"[" * 100_000,
        json.dumps({**GOOD, "tools": [{"a": nested(500)}]}).encode(),
        json.dumps({**GOOD, "chat_template_kwargs": {"a": nested(500)}}).encode(),
    ],
)
def test_bad_bodies_get_400(url: str, body: bytes) -> None:
    answer = post(url, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"messages": [*GOOD["messages"], {"role": "user", "content": "ab " * 10**6}]},
            "messages[1].content",
        ),
        ({"messages": GOOD["messages"] * 20_000}, "messages["),
        ({"bad_words": ["ab " * 10**6]}, "bad_words"),
        ({"chat_template_kwargs": {"tools": [{"name": "ab " * 10**6}]}}, "tools"),
    ],
)
def test_what_no_context_holds_is_refused_before_it_is_tokenised(
    url: str, fields: dict[str, Any], param: str
) -> None:
    error = post(url, json.dumps({**GOOD, **fields}).encode()).json()["error"]
    assert error["param"].startswith(param)
    assert error["message"].startswith(f"with {error['param']} the request has more")


def test_compressed_bodies(url: str) -> None:
    body = json.dumps(GOOD).encode()
    assert post(url, gzip.compress(body), **{"Content-Encoding": "gzip"}).status_code == 200
    bomb = gzip.compress(bytes(65 * 2**20))
    assert post(url, bomb, **{"Content-Encoding": "gzip"}).status_code == 413
    assert post(url, body, **{"Content-Encoding": "br"}).status_code == 415


def without_header(body: bytes) -> bytes:
    """As some clients send what they call deflate."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize("deflated", [zlib.compress, without_header])
def test_deflated_bodies(url: str, deflated: Callable[[bytes], bytes]) -> None:
    coding = {"Content-Encoding": "deflate"}
    whole = deflated(json.dumps(GOOD).encode())
    assert post(url, whole, **coding).json()["usage"]["completion_tokens"] == 1
    for broken in (whole[:-5], whole + b"more", b"{}"):
        assert post(url, broken, **coding).status_code == 400
    assert post(url, deflated(bytes(65 * 2**20)), **coding).status_code == 413


def test_zstd_bodies(url: str) -> None:
    """Where the package is installed; elsewhere they are refused as any other coding."""
    coding = {"Content-Encoding": "zstd"}
    if importlib.util.find_spec("zstandard") is None:
        answer = post(url, b"x", **coding)
        assert answer.status_code == 415
        assert "zstd" not in answer.headers["Accept-Encoding"]
        return
    compress = importlib.import_module("zstandard").compress
    whole = compress(json.dumps(GOOD).encode())
    assert post(url, whole, **coding).json()["usage"]["completion_tokens"] == 1
    for broken in (b"{}", b"\x28\xb5\x2f\xfd" + whole[:8]):
        assert post(url, broken, **coding).status_code == 400
    assert post(url, compress(bytes(65 * 2**20)), **coding).status_code == 413


PICTURE = "data:image/gif;base64,R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="


def showing(url: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {**GOOD, "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    "written",
    [f" \n\t{PICTURE}\r\n ", PICTURE.replace("AIAAAP", " AIA\r\n\tAAP%0A"), PICTURE + "\n"],
    ids=["around", "inside", "at the end"],
)
def test_white_space_in_data_urls(url: str, written: str) -> None:
    def logprob(shown: str) -> float:
        answer = chat(url, **showing(shown), logprobs=True, temperature=0).json()
        found: float = answer["choices"][0]["logprobs"]["content"][0]["logprob"]
        return found

    expected = logprob(PICTURE)
    assert logprob(written) == pytest.approx(expected, abs=1e-5)
    black = PICTURE.replace("AP///////", "AAAAAAAAA")
    assert logprob(black) != pytest.approx(expected, abs=1e-5)


def test_who_sent_no_image_is_not_told_of_images(url: str) -> None:
    def said(**fields: Any) -> str:
        answer = chat(url, **{**GOOD, **fields})
        assert answer.status_code == 504
        message: str = answer.json()["error"]["message"]
        return message

    assert "image" not in said(timeout=1e-9)
    assert "reading its images" in said(**showing(PICTURE), timeout=1e-9)
