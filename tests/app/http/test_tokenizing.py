"""POST /tokenize and /detokenize, beside transformers' tokenizer and what the engine counts."""

from __future__ import annotations

import base64
import io
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from octavo.app import DEMO_MODEL
from octavo.app.http.tokenizing import TOKENIZE_FIELDS
from PIL import Image
from serving import chat
from transformers import AutoTokenizer

TEXT = "The café: 你好 😀 <|user|> a dog"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(DEMO_MODEL)


def post(base: str, path: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{base}/{path}", json=fields, timeout=240)


def ask(base: str, path: str, **fields: Any) -> dict[str, Any]:
    answer = post(base, path, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_tokens_are_transformers(demo_server: str, tokenizer: Any) -> None:
    expected = tokenizer(TEXT)["input_ids"]
    models = httpx.get(f"{demo_server}/v1/models").json()["data"][0]
    assert ask(demo_server, "tokenize", prompt=TEXT, model=models["id"]) == {
        "count": len(expected),
        "max_model_len": models["max_model_len"],
        "tokens": expected,
        "token_strs": None,
    }
    told = ask(demo_server, "tokenize", prompt=TEXT, return_token_strs=True)
    assert told["token_strs"] == tokenizer.convert_ids_to_tokens(expected)
    assert ask(demo_server, "tokenize", prompt="")["tokens"] == []
    text = ask(demo_server, "detokenize", tokens=expected)
    assert text == {"prompt": tokenizer.decode(expected)}
    assert text["prompt"] == TEXT


@pytest.mark.parametrize("opens", [True, False])
def test_messages_are_written_as_for_a_chat(demo_server: str, tokenizer: Any, opens: bool) -> None:
    messages = [{"role": "user", "content": "What can you do?"}]
    expected = tokenizer.apply_chat_template(
        messages, add_generation_prompt=opens, return_dict=False
    )
    given = {"messages": messages, "add_generation_prompt": opens}
    assert ask(demo_server, "tokenize", **given)["tokens"] == expected


def test_images_take_what_they_take_of_a_chat(demo_server: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (50, 40)).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Hm?"}]
    messages = [{"role": "user", "content": parts}]
    usage = chat(demo_server, messages=messages, max_tokens=1).json()["usage"]
    told = ask(demo_server, "tokenize", messages=messages)
    assert told["count"] == len(told["tokens"]) == usage["prompt_tokens"] > 64


def test_prompts_longer_than_the_context_are_counted(demo_server: str) -> None:
    told = ask(demo_server, "tokenize", prompt=" a" * 3000)
    assert told["count"] == 3000 > told["max_model_len"]
    messages = [{"role": "user", "content": " a" * 3000}]
    assert ask(demo_server, "tokenize", messages=messages)["count"] > 3000


MESSAGES = [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "a", "messages": MESSAGES}, "prompt"),
        ("tokenize", {"prompt": ["a"]}, "prompt"),
        ("tokenize", {"prompt": "a", "add_generation_prompt": True}, "add_generation_prompt"),
        ("tokenize", {"prompt": "a " * 10**6}, "prompt"),
        ("tokenize", {"messages": MESSAGES, "add_special_tokens": True}, "add_special_tokens"),
        ("tokenize", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("tokenize", {"messages": MESSAGES, "tools": [{"function": {"name": "f"}}]}, "tools"),
        ("tokenize", {"prompt": "a", "model": "zzz"}, "model"),
        ("tokenize", {"prompt": "a", "zzz": 1}, "zzz"),
        *(("tokenize", {"prompt": "a", name: "x"}, name) for name in TOKENIZE_FIELDS.refused),
        ("detokenize", {}, "tokens"),
        ("detokenize", {"tokens": "a"}, "tokens"),
        ("detokenize", {"tokens": [1, 10**6]}, "tokens[1]"),
        ("detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("detokenize", {"tokens": [1], "zzz": 1}, "zzz"),
    ],
)
def test_refusals_name_what_is_at_fault(
    demo_server: str, path: str, fields: dict[str, Any], param: str
) -> None:
    answer = post(demo_server, path, **fields)
    assert answer.status_code == (404 if param == "model" else 400)
    assert answer.json()["error"]["param"] == param


def test_version_and_ping(demo_server: str) -> None:
    assert httpx.get(f"{demo_server}/version").json() == {"version": version("octavo")}
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"{demo_server}/ping")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
