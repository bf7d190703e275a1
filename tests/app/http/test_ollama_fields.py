"""Each field of Ollama's requests, and of their options: honoured ones do something; others are
harmless, or refused by their names."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import httpx
import pytest
from field_rows import Answer, Row, Texts, check_row
from octavo.app.http.ollama.ollama_fields import CHAT_FIELDS, GENERATE_FIELDS
from octavo.app.http.ollama.options import OPTIONS

#: What the demo model says to "Hello".
HELLO = "Hello! Show me a picture and I will tell you what I see."
GREEDY = {"temperature": 0, "num_predict": 40}
#: Of which each answer is another one, unless an option narrows the choice down.
RANDOM = {"temperature": 2, "num_predict": 40, "seed": 1}
PICTURE = "R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="


def text(answer: Answer) -> str:
    found: str = answer["response"] if "response" in answer else answer["message"]["content"]
    return found


def is_longer(plain: Answer, answer: Answer) -> bool:
    longer: bool = answer["prompt_eval_count"] > plain["prompt_eval_count"]
    return longer


def has_logprobs(plain: Answer, answer: Answer) -> bool:
    return len(answer["logprobs"]) == answer["eval_count"] and "logprobs" not in plain


def has_three(plain: Answer, answer: Answer) -> bool:
    return {len(entry["top_logprobs"]) for entry in answer["logprobs"]} == {3}


TEXTS = Texts(text, HELLO)
is_greedy = TEXTS.is_greedy
differs = TEXTS.differs
is_the_same = TEXTS.is_the_same
_BOTH: dict[str, Row] = {
    "model": Row("octavo-demo:latest", is_the_same, "zzz"),
    "format": Row({"enum": [7]}, lambda plain, a: text(a) == "7", {"type": "zzz"}),
    "options": Row({"num_predict": 3}, lambda plain, a: a["eval_count"] == 3, {"top_p": 2}),
    "stream": Row(True, lambda plain, a: a["done"] and not text(a) and text(plain), "x"),
    "think": Row(False, is_the_same, True),
    "logprobs": Row(True, has_logprobs, "x"),
    "top_logprobs": Row(3, has_three, 21, {"logprobs": True}),
}
_TWO = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
CHAT_ROWS = _BOTH | {
    "messages": Row(_TWO, is_longer, [{"role": "zzz"}]),
    "tools": Row([], is_the_same, [{"zzz": 1}]),
}
GENERATE_ROWS = _BOTH | {
    "prompt": Row("What is in your picture?", is_longer, 1),
    "system": Row("Be kind.", is_longer, 1),
    "images": Row([PICTURE], is_longer, ["AAAA"]),
    "raw": Row(True, differs, "x"),
}
OPTION_ROWS: dict[str, Row] = {
    "num_predict": Row(3, lambda plain, a: a["eval_count"] == 3, 0, {"temperature": 0}),
    "temperature": Row(0, is_greedy, -1, RANDOM),
    "top_k": Row(1, is_greedy, -2, RANDOM),
    "top_p": Row(1e-6, is_greedy, 2, RANDOM),
    "min_p": Row(1, is_greedy, 2, RANDOM),
    "seed": Row(2, differs, "x", RANDOM),
    "stop": Row(" me", lambda plain, a: text(a) == "Hello! Show", [""], GREEDY),
    "repeat_penalty": Row(5, differs, 0, GREEDY),
    "presence_penalty": Row(2, differs, 3, RANDOM),
    "frequency_penalty": Row(2, differs, 3, RANDOM),
}


def ask(url: str, path: str, **fields: Any) -> Answer:
    """The answer, or its error, or the last line of a stream."""
    asked = {"messages": [_TWO[1]]} if path == "chat" else {"prompt": "Hello"}
    body = {"model": "octavo-demo", "stream": False, "options": GREEDY, **asked, **fields}
    response = httpx.post(f"{url}/api/{path}", json=body, timeout=240)
    answer: Answer = json.loads(response.text.splitlines()[-1])
    return answer


@cache
def ask_plainly(url: str, path: str, fields: str) -> Answer:
    return ask(url, path, **json.loads(fields))


def check(url: str, path: str, name: str, row: Row) -> None:
    refused = check_row(name, row, {}, partial(ask, url, path), partial(ask_plainly, url, path))
    assert name in refused["error"]


@pytest.mark.parametrize("name", CHAT_FIELDS.honoured.__struct_fields__)
def test_a_field_of_a_chat_does_what_its_name_says(demo_server: str, name: str) -> None:
    check(demo_server, "chat", name, CHAT_ROWS[name])


@pytest.mark.parametrize("name", GENERATE_FIELDS.honoured.__struct_fields__)
def test_a_field_of_a_prompt_does_what_its_name_says(demo_server: str, name: str) -> None:
    check(demo_server, "generate", name, GENERATE_ROWS[name])


@pytest.mark.parametrize("name", OPTIONS.honoured.__struct_fields__)
def test_an_option_does_what_its_name_says(demo_server: str, name: str) -> None:
    row = OPTION_ROWS[name]
    plain = ask_plainly(demo_server, "generate", json.dumps({"options": row.beside({})}))
    given = ask(demo_server, "generate", options={**row.with_, name: row.given})
    assert row.does(plain, given), (plain, given)
    for path, others in (("generate", {}), ("generate", {"raw": True}), ("chat", {})):
        refused = ask(demo_server, path, options={**row.with_, name: row.refused}, **others)
        assert f"options.{name}" in refused["error"]


@pytest.mark.parametrize(("path", "table"), [("chat", CHAT_FIELDS), ("generate", GENERATE_FIELDS)])
def test_others_are_harmless_or_named(demo_server: str, path: str, table: Any) -> None:
    harmless = {**dict.fromkeys(table.harmless, "x"), **{n: v[0] for n, v in table.fixed.items()}}
    assert text(ask(demo_server, path, **harmless)) == HELLO
    for name in (*table.fixed, *table.refused, "zzz"):
        assert ask(demo_server, path, **{name: "xml"})["error"].startswith(f"{name} ")


def test_options_are_harmless_or_named(demo_server: str) -> None:
    harmless = {**dict.fromkeys(OPTIONS.harmless, 1), **{n: v[0] for n, v in OPTIONS.fixed.items()}}
    assert text(ask(demo_server, "chat", options={**GREEDY, **harmless})) == HELLO
    for name in (*OPTIONS.fixed, "zzz"):
        error = ask(demo_server, "chat", options={**GREEDY, name: "xml"})["error"]
        assert error.startswith(f"options.{name} ")
