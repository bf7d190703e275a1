"""Where the API is strict and where lenient, as OpenAI's clients, browsers and proxies need it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from octavo.app.http.errors import EXCEPTION_HANDLERS
from octavo.app.http.middleware import middleware
from octavo.core.system.log_format import LineFormatter
from PIL import Image
from serving import chat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

USER = {"role": "user", "content": "x"}
ORIGIN = "https://example.com"


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


def with_call(arguments: str, **fields: Any) -> list[dict[str, Any]]:
    function = {"name": "f", "arguments": arguments}
    call = {"id": "a", "type": "function", "function": function, **fields}
    return [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("top_logprobs", {"top_logprobs": 2}),
        ("top_k", {"top_k": 2**70}),
        ("logit_bias", {"logit_bias": {"a": 1}}),
        ("stop", {"stop": list("abcde")}),
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("messages[0].role", {"messages": [{**USER, "role": "zzz"}]}),
        ("messages[0].images", {"messages": [{**USER, "images": ["a"]}]}),
        ("messages[1].tool_calls[0].zzz", {"messages": with_call("{}", zzz=1)}),
        (
            "messages[1].tool_calls[0].function.zzz",
            {"messages": with_call("{}", function={"name": "f", "zzz": 1})},
        ),
        (
            "messages[1].tool_calls[0].function.arguments",
            {"messages": with_call('{"a":' + "[" * 600 + "]" * 600 + "}")},
        ),
    ],
)
def test_the_part_at_fault_is_named(url: str, param: str, fields: dict[str, Any]) -> None:
    answer = chat(url, **fields)
    assert answer.status_code == 400
    assert str(answer.json()["error"]["param"]).startswith(param)


def test_what_clients_send_is_taken(url: str) -> None:
    def answer(**fields: Any) -> Any:
        got = chat(url, **{"max_tokens": 2, "temperature": 0, **fields})
        assert got.status_code == 200, got.text
        return got.json()["choices"]

    assert answer(max_tokens=2.0, top_p=None, seed=None) == answer()
    assert answer(messages=with_call("")) == answer(messages=with_call("{}"))


def test_usage_is_null_in_every_chunk_but_the_last(url: str) -> None:
    answer = chat(url, max_tokens=2, stream=True, stream_options={"include_usage": True})
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    usages = [json.loads(line)["usage"] for line in lines]
    assert len(usages) > 1
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1]["completion_tokens"] == 2


def test_a_model_tells_what_it_takes(url: str) -> None:
    (listed,) = httpx.get(f"{url}/v1/models").json()["data"]
    assert listed["input_modalities"] == ["text", "image"]
    assert listed["output_modalities"] == ["text"]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    asked: dict[str, dict[str, Any]] = {
        "chat": {},
        "structured_outputs": {"guided_regex": "a"},
        "tools": {"tools": [tool]},
        "forced_tools": {"tools": [tool], "tool_choice": "required"},
    }
    answered = [
        name for name, given in asked.items() if chat(url, max_tokens=20, **given).is_success
    ]
    assert listed["features"] == answered == ["chat", "structured_outputs"]


def test_methods_and_models(url: str) -> None:
    listed = httpx.get(f"{url}/v1/models").json()["data"][0]
    assert httpx.get(f"{url}/v1/models/{listed['id']}").json() == listed
    assert httpx.get(f"{url}/v1/models/zzz").status_code == 404
    assert httpx.head(f"{url}/v1/models").status_code == 200
    for path, allowed in (("models", "GET, HEAD"), ("chat/completions", "POST")):
        answer = httpx.put(f"{url}/v1/{path}")
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


def test_browsers_may_use_it_from_the_allowed_origins_alone(url: str) -> None:
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://example.org", None)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for answer in (
            httpx.options(f"{url}/v1/chat/completions", headers=headers),
            httpx.get(f"{url}/v1/models", headers={"Origin": origin}),
        ):
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def test_captions_ignore_nothing(url: str) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    image = {"image": ("a.png", picture.getvalue(), "image/png")}

    def param(data: dict[str, str], **files: Any) -> Any:
        answer = httpx.post(f"{url}/v1/captions", data=data, files={**image, **files}, timeout=240)
        assert answer.status_code == 400
        return answer.json()["error"]["param"]

    assert param({"prompt": "x", "zzz": "1"}) == "zzz"
    assert param({}, prompt=("p.txt", b"x", "text/plain")) == "prompt"


def sent(url: str, data: bytes, shut: bool) -> bytes:
    """All that a server sends until it closes the connection."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), 60) as connection:
        connection.sendall(data)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(2**16):
            received += piece
            if not shut:
                break
        return received


def test_a_half_closed_request_gets_its_answer(url: str) -> None:
    body = json.dumps({"messages": [USER], "max_tokens": 1}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    received = sent(url, head % len(body) + body, shut=True)
    assert b"HTTP/1.1 200 OK" in received
    assert b"chat.completion" in received


def test_a_large_body_is_refused_before_it_is_sent(url: str) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    assert sent(url, head, shut=False).startswith(b"HTTP/1.1 413")


def test_an_unexpected_failure_is_openais_error() -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError("a secret of the server")

    app = Starlette(
        routes=[Route("/", fail)],
        middleware=middleware(()),
        exception_handlers=EXCEPTION_HANDLERS,
    )

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/")

    answer = asyncio.run(get())
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["X-Request-Id"] in answer.json()["error"]["message"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_controls_are_escaped_in_logs() -> None:
    text = "a\u2028b\x1b[31m\x85\u202ec"
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (text,), None)
    assert LineFormatter("%(message)s").format(record) == r"a\u2028b\x1b[31m\x85\u202ec"
