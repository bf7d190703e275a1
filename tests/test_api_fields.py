"""Every field is honoured, harmless or refused by its name; bad bodies get 400."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest
from octavo.app.http.chat_fields import CHAT_FIELDS
from serving import chat

GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


def post(base: str, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{base}/v1/chat/completions", content=body, headers=headers, timeout=60)


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
        ({"tools": [{"type": "function", "function": {"name": "ab " * 10**6}}]}, "tools"),
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
