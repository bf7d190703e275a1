"""Each field of a message's request: honoured ones do something; others are harmless, or refused
by their names."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import httpx
import pytest
from field_rows import Answer, Row, Texts, check_row, fails
from octavo.app.http.messages.messages_fields import COUNT_TOKENS_FIELDS, MESSAGES_FIELDS

#: What the demo model says to "Hello".
HELLO = "Hello! Show me a picture and I will tell you what I see."
ASKED = [{"role": "user", "content": "Hello"}]
GREEDY = {"messages": ASKED, "max_tokens": 40, "temperature": 0}
#: Of which each answer is another one, unless a field narrows the choice down.
RANDOM = {"messages": ASKED, "max_tokens": 40, "temperature": 2}
LONG = [{"role": "user", "content": "What is in your picture? " * 4}]
PICTURE = "R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="
SOURCE = {"type": "base64", "media_type": "image/gif", "data": PICTURE}
SHOWN = [{"role": "user", "content": [{"type": "image", "source": SOURCE}]}]
SEVEN = {"format": {"type": "json_schema", "schema": {"enum": [7]}}}


def text(answer: Answer) -> str:
    found: str = answer["content"][0]["text"]
    return found


def prompt(answer: Answer) -> int:
    usage = answer["usage"]
    count: int = usage["input_tokens"] + usage["cache_read_input_tokens"]
    return count


def is_longer(plain: Answer, answer: Answer) -> bool:
    return prompt(answer) > prompt(plain)


TEXTS = Texts(text, HELLO)
is_greedy = TEXTS.is_greedy
is_the_same = TEXTS.is_the_same
ROWS: dict[str, Row] = {
    "messages": Row(LONG, is_longer, []),
    "model": Row("octavo-demo", is_the_same, "zzz"),
    "system": Row("Be kind.", is_longer, 1),
    "tools": Row([], is_the_same, [{"zzz": 1}]),
    "tool_choice": Row({"type": "none"}, is_the_same, {"type": "zzz"}),
    "thinking": Row({"type": "disabled"}, is_the_same, {"type": "enabled"}),
    "output_config": Row(SEVEN, lambda plain, a: text(a) == "7", {"format": {"type": "xml"}}),
    "max_image_tokens": Row(8, fails, 0, {**GREEDY, "messages": SHOWN}),
    "chat_template_kwargs": Row(
        {"add_generation_prompt": False},
        lambda plain, a: prompt(a) == prompt(plain) - 1,
        {"tokenize": True},
    ),
    "max_tokens": Row(3, lambda plain, a: a["usage"]["output_tokens"] == 3, 0),
    "temperature": Row(0, is_greedy, -1, RANDOM),
    "top_p": Row(1e-6, is_greedy, 2, RANDOM),
    "top_k": Row(1, is_greedy, -2, RANDOM),
    "stop_sequences": Row([" me"], lambda plain, a: text(a) == "Hello! Show", [""]),
    "stream": Row(True, lambda plain, a: a["type"] == "message_stop", "x"),
    "priority": Row(1, fails, 2**70),
    "cache_salt": Row(
        "a salt of its own",
        lambda plain, a: (
            a["usage"]["cache_read_input_tokens"] < plain["usage"]["cache_read_input_tokens"]
        ),
        "x" * 1025,
        {**GREEDY, "messages": LONG},
    ),
    "queue_timeout": Row(60, is_the_same, 0),
    "timeout": Row(1e-9, lambda plain, a: a["error"]["type"] == "timeout_error", 0),
}


def ask(url: str, path: str = "messages", **fields: Any) -> Answer:
    """The answer, or its error, or the last event of a stream."""
    response = httpx.post(f"{url}/v1/{path}", json=fields, timeout=240)
    answer: Answer = json.loads(response.text.strip().split("data: ")[-1])
    return answer


@cache
def ask_plainly(url: str, fields: str) -> Answer:
    for _ in range(2):  # The second finds what the first has cached.
        answer = ask(url, **json.loads(fields))
    return answer


@pytest.mark.parametrize("name", MESSAGES_FIELDS.honoured.__struct_fields__)
def test_it_does_what_its_name_says(demo_server: str, name: str) -> None:
    asking = partial(ask, demo_server), partial(ask_plainly, demo_server)
    refused = check_row(name, ROWS[name], GREEDY, *asking)
    assert refused["type"] == "error"
    assert name in refused["error"]["message"]


def test_harmless_fields_change_nothing(demo_server: str) -> None:
    expected = text(ask(demo_server, **GREEDY))
    given = dict.fromkeys(MESSAGES_FIELDS.harmless, "x")
    assert text(ask(demo_server, **GREEDY, **given)) == expected
    for name, values in MESSAGES_FIELDS.fixed.items():
        for value in (*values, None):
            assert text(ask(demo_server, **GREEDY, **{name: value})) == expected


@pytest.mark.parametrize("name", [*MESSAGES_FIELDS.refused, *MESSAGES_FIELDS.fixed, "zzz"])
def test_what_is_not_honoured_is_named(demo_server: str, name: str) -> None:
    answer = ask(demo_server, **GREEDY, **{name: "xml"})
    assert answer["error"]["message"].startswith(f"{name} ")


def test_a_count_takes_what_a_prompt_is_made_of(demo_server: str) -> None:
    path = "messages/count_tokens"
    fields = {name: ROWS[name].given for name in COUNT_TOKENS_FIELDS.honoured.__struct_fields__}
    del fields["max_image_tokens"]  # which this model has none to spare for
    given = {**fields, **dict.fromkeys(COUNT_TOKENS_FIELDS.harmless, "x")}
    count = ask(demo_server, path, **given)["input_tokens"]
    assert count == prompt(ask(demo_server, max_tokens=1, **given))
    for name in (*COUNT_TOKENS_FIELDS.refused, "max_tokens", "zzz"):
        answer = ask(demo_server, path, messages=ASKED, **{name: 1})
        assert answer["error"]["message"].startswith(f"{name} ")
    answer = ask(demo_server, path, messages=SHOWN, max_image_tokens=8)
    assert answer["error"]["message"].startswith("messages[0].content[0].source")
