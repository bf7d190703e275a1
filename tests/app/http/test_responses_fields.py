"""Each field of a response's request: honoured ones, sent alone with another value than their
default, do something; others are harmless, or refused by their names."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import httpx
import pytest
from field_rows import Answer, Row, Texts, check_row, fails
from octavo.app.http.responses.responses_fields import RESPONSES_FIELDS

#: What the demo model says to "Hello".
HELLO = "Hello! Show me a picture and I will tell you what I see."
GREEDY = {"input": "Hello", "max_output_tokens": 40, "temperature": 0}
#: Of which each answer is another one, unless a field narrows the choice down.
RANDOM = {"input": "Hello", "max_output_tokens": 40, "temperature": 2.0, "seed": 1}
LONG = "What is in your picture? " * 4
PICTURE = "data:image/gif;base64,R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="
SHOWN = [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]}]
SCHEMA = {"type": "json_schema", "name": "seven", "schema": {"enum": [7]}, "strict": True}


def text(answer: Answer) -> str:
    found: str = answer["output"][0]["content"][0]["text"]
    return found


def logprobs(answer: Answer) -> list[Any]:
    found: list[Any] = answer["output"][0]["content"][0]["logprobs"]
    return found


def prompt(answer: Answer) -> int:
    count: int = answer["usage"]["input_tokens"]
    return count


def cached(answer: Answer) -> int:
    count: int = answer["usage"]["input_tokens_details"]["cached_tokens"]
    return count


TEXTS = Texts(text, HELLO)
is_greedy = TEXTS.is_greedy
differs = TEXTS.differs
is_the_same = TEXTS.is_the_same
ROWS: dict[str, Row] = {
    "input": Row(LONG, lambda plain, a: prompt(a) > prompt(plain), []),
    "model": Row("octavo-demo", is_the_same, "zzz"),
    "instructions": Row("Be kind.", lambda plain, a: prompt(a) > prompt(plain), 1),
    "max_output_tokens": Row(
        3,
        lambda plain, a: (
            (a["usage"]["output_tokens"], a["status"]) == (3, "incomplete")
            and plain["status"] == "completed"
        ),
        0,
        {"input": "Hello", "temperature": 0},
    ),
    "temperature": Row(2, differs, -1, {"input": "Hello", "seed": 1, "max_output_tokens": 40}),
    "top_p": Row(1e-6, is_greedy, 2, RANDOM),
    "text": Row({"format": SCHEMA}, lambda plain, a: text(a) == "7", {"format": {"type": "xml"}}),
    "tools": Row([], is_the_same, [{"zzz": 1}]),
    "tool_choice": Row("none", is_the_same, "required"),
    "parallel_tool_calls": Row(False, lambda plain, a: not a["parallel_tool_calls"], "x"),
    "include": Row(
        ["message.output_text.logprobs"],
        lambda plain, a: len(logprobs(a)) == a["usage"]["output_tokens"] and not logprobs(plain),
        ["reasoning.encrypted_content"],
    ),
    "top_logprobs": Row(
        3,
        lambda plain, a: [len(entry["top_logprobs"]) for entry in logprobs(a)[:2]] == [3, 3],
        21,
        {**GREEDY, "include": ["message.output_text.logprobs"]},
    ),
    "store": Row(False, lambda plain, a: (plain["store"], a["store"]) == (True, False), "x"),
    "metadata": Row({"a": "b"}, lambda plain, a: a["metadata"] == {"a": "b"}, {"a": 1}),
    "stream": Row(True, lambda plain, a: a["type"] == "response.completed", "x"),
    "stream_options": Row(
        {"include_obfuscation": False},
        lambda plain, a: a["type"] == plain["type"],
        {"zzz": 1},
        {**GREEDY, "stream": True},
    ),
    "top_k": Row(1, is_greedy, -2, RANDOM),
    "min_p": Row(1, is_greedy, 2, RANDOM),
    "presence_penalty": Row(2, differs, 3, RANDOM),
    "frequency_penalty": Row(2, differs, 3, RANDOM),
    "repetition_penalty": Row(5, differs, 0),
    "seed": Row(2, differs, "x", RANDOM),
    "stop": Row(" me", lambda plain, a: text(a) == "Hello! Show", list("abcde")),
    "priority": Row(1, fails, 2**70),
    "cache_salt": Row(
        "another salt",
        lambda plain, a: cached(a) < cached(plain),
        "x" * 1025,
        {**GREEDY, "input": LONG},
    ),
    "queue_timeout": Row(60, is_the_same, 0),
    "timeout": Row(1e-9, lambda plain, a: a["error"]["code"] == "timeout", 0),
    "max_image_tokens": Row(8, fails, 0, {**GREEDY, "input": SHOWN}),
    "include_reasoning": Row(False, is_the_same, "x"),
    "skip_special_tokens": Row(False, is_the_same, "x"),
    "chat_template_kwargs": Row(
        {"add_generation_prompt": False},
        lambda plain, a: prompt(a) == prompt(plain) - 1,
        {"tokenize": True},
    ),
}


def ask(url: str, **fields: Any) -> Answer:
    """The answer, or its error, or the last event of a stream."""
    response = httpx.post(f"{url}/v1/responses", json=fields, timeout=240)
    answer: Answer = json.loads(response.text.strip().split("data: ")[-1])
    return answer


@cache
def ask_plainly(url: str, fields: str) -> Answer:
    for _ in range(2):  # The second finds what the first has cached.
        answer = ask(url, **json.loads(fields))
    return answer


@pytest.mark.parametrize(
    "name", sorted({*RESPONSES_FIELDS.honoured.__struct_fields__} - {"previous_response_id"})
)
def test_it_does_what_its_name_says(demo_server: str, name: str) -> None:
    asking = partial(ask, demo_server), partial(ask_plainly, demo_server)
    refused = check_row(name, ROWS[name], GREEDY, *asking)
    assert refused["error"]["param"].startswith(name)


def test_harmless_fields_change_nothing(demo_server: str) -> None:
    expected = text(ask(demo_server, **GREEDY))
    given = dict.fromkeys(RESPONSES_FIELDS.harmless, "x")
    assert text(ask(demo_server, **GREEDY, **given)) == expected


@pytest.mark.parametrize("name", [*RESPONSES_FIELDS.refused, *RESPONSES_FIELDS.fixed, "zzz"])
def test_what_is_not_honoured_is_named(demo_server: str, name: str) -> None:
    answer = ask(demo_server, **GREEDY, **{name: "xml"})
    assert answer["error"]["param"] == name


@pytest.mark.parametrize("name", RESPONSES_FIELDS.fixed)
def test_what_is_done_anyway_may_be_asked_for(demo_server: str, name: str) -> None:
    for value in (*RESPONSES_FIELDS.fixed[name], None):
        assert text(ask(demo_server, **GREEDY, **{name: value})) == HELLO
