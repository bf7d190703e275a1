"""Each field of a completion: honoured ones, sent alone with another value than their default, do
something; others are harmless, or refused by their names."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from field_rows import Answer, Row, Texts, check_row, fails
from octavo.app import DEMO_MODEL
from octavo.app.http.completions.completion_fields import COMPLETION_FIELDS
from tokenizers import Tokenizer

TOKENIZER = Tokenizer.from_file(str(Path(DEMO_MODEL, "tokenizer.json")))
#: What the demo model goes on with after "The dog", and three times more.
GOES_ON = " the sma a dog the second a dog the second a dog"
GREEDY = {"prompt": "The dog", "max_tokens": 12, "temperature": 0}
#: Of which each answer is another one, unless a field narrows the choice down.
RANDOM = {"prompt": "The dog", "max_tokens": 12, "temperature": 2.0, "seed": 1}
BEAMS = {"prompt": "Hello", "max_tokens": 8, "use_beam_search": True, "n": 2}


def text(answer: Answer) -> str:
    found: str = answer["choices"][0]["text"]
    return found


def ends(answer: Answer) -> str:
    found: str = answer["choices"][0]["finish_reason"]
    return found


def used(answer: Answer, kind: str = "completion") -> int:
    count: int = answer["usage"][f"{kind}_tokens"]
    return count


def token(word: str) -> int:
    (found,) = TOKENIZER.encode(word, add_special_tokens=False).ids
    return int(found)


def repeats(answer: Answer) -> int:
    """Tokens of an answer that were in it before."""
    ids = TOKENIZER.encode(text(answer), add_special_tokens=False).ids
    return len(ids) - len(set(ids))


def fewer_repeats(plain: Answer, answer: Answer) -> bool:
    return repeats(answer) < repeats(plain)


QUESTION = {**GREEDY, "prompt": "What is this?"}
LONG = "What is in your picture? " * 4
TEXTS = Texts(text, GOES_ON)
is_greedy = TEXTS.is_greedy
differs = TEXTS.differs
is_the_same = TEXTS.is_the_same
ROWS: dict[str, Row] = {
    "prompt": Row(LONG, lambda plain, a: used(a, "prompt") > used(plain, "prompt"), []),
    "best_of": Row(1, is_the_same, 2),
    "logprobs": Row(2, lambda plain, a: len(a["choices"][0]["logprobs"]["tokens"]) == 12, 21),
    "echo": Row(
        True, lambda plain, a: text(a) == "The dog" + GOES_ON == "The dog" + text(plain), 7
    ),
    "add_special_tokens": Row(False, is_the_same, "x"),
    "model": Row("octavo-demo", is_the_same, "zzz"),
    "max_tokens": Row(3, lambda plain, a: (used(a), ends(a)) == (3, "length"), 0),
    "n": Row(2, lambda plain, a: len(a["choices"]) == 2, 0),
    "presence_penalty": Row(2, fewer_repeats, 3),
    "frequency_penalty": Row(2, fewer_repeats, 3),
    "repetition_penalty": Row(5, differs, 0),
    "temperature": Row(2, differs, -1, {"prompt": "The dog", "max_tokens": 12, "seed": 1}),
    "top_p": Row(1e-6, is_greedy, 2, RANDOM),
    "top_k": Row(1, is_greedy, -2, RANDOM),
    "min_p": Row(1, is_greedy, 2, RANDOM),
    "seed": Row(2, differs, "x", RANDOM),
    "stop": Row(" dog", lambda plain, a: text(a) == GOES_ON.split(" dog")[0], list("abcde")),
    "stop_token_ids": Row([token(" dog")], lambda plain, a: ends(a) == "stop", [10**6]),
    "bad_words": Row(["dog"], lambda plain, a: "dog" not in text(a), [""]),
    "ignore_eos": Row(
        True, lambda plain, a: (ends(plain), ends(a)) == ("stop", "length"), "x", QUESTION
    ),
    "min_tokens": Row(8, lambda plain, a: used(plain) < 8 <= used(a), 13, QUESTION),
    "prompt_logprobs": Row(1, lambda plain, a: len(a["choices"][0]["prompt_logprobs"]) == 2, 21),
    "logit_bias": Row({token(" a"): 100}, lambda plain, a: text(a) == " a" * 12, {"x": 1}),
    "allowed_token_ids": Row([token(" a")], lambda plain, a: text(a) == " a" * 12, [10**6]),
    "logits_processors": Row({}, is_the_same, {"zzz": {}}),
    "response_format": Row(
        {"type": "json_schema", "json_schema": {"schema": {"enum": [7]}}},
        lambda plain, a: (text(a), ends(a)) == ("7", "stop"),
        {"type": "xml"},
    ),
    "structured_outputs": Row({"regex": "a|b"}, lambda plain, a: text(a) in "ab", {"zzz": 1}),
    "guided_json": Row({"const": [True]}, lambda plain, a: json.loads(text(a)) == [True], "x"),
    "guided_regex": Row("[0-9]", lambda plain, a: text(a) in "0123456789", "("),
    "guided_choice": Row(["cat", "dog"], lambda plain, a: text(a) in ("cat", "dog"), []),
    "guided_grammar": Row('start: "x" "y"', lambda plain, a: text(a) == "xy", "start: zzz"),
    "use_beam_search": Row(
        True,
        lambda plain, a: len({choice["text"] for choice in a["choices"]}) == 2,
        "x",
        {"prompt": "Hello", "max_tokens": 8, "temperature": 0, "n": 2},
    ),
    "length_penalty": Row(-10, differs, 1e300, {**BEAMS, "prompt": "I can", "max_tokens": 40}),
    "early_stopping": Row(True, lambda plain, a: len(a["choices"]) == 2, "now", BEAMS),
    "priority": Row(1, fails, 2**70),
    "cache_salt": Row(
        "a salt of its own",
        lambda plain, a: (
            a["usage"]["prompt_tokens_details"]["cached_tokens"]
            < plain["usage"]["prompt_tokens_details"]["cached_tokens"]
        ),
        "x" * 1025,
        {**GREEDY, "prompt": LONG},
    ),
    "queue_timeout": Row(60, is_the_same, 0),
    "timeout": Row(1e-9, lambda plain, a: a["error"]["code"] == "timeout", 0),
    "skip_special_tokens": Row(
        False,
        lambda plain, a: text(a) == "<s>" * 12 and text(plain) == "",
        "x",
        {**GREEDY, "allowed_token_ids": [token("<s>")]},
    ),
    "stream": Row(True, lambda plain, a: "usage" not in a and "usage" in plain, "x"),
    "stream_options": Row(
        {"include_usage": True},
        lambda plain, a: "usage" in a and "usage" not in plain,
        {"zzz": 1},
        {**GREEDY, "stream": True},
    ),
    "include_timings": Row(
        True, lambda plain, a: a["timings"]["decode_ms"] > 0 and "timings" not in plain, 1
    ),
}


def ask(url: str, **fields: Any) -> Answer:
    """The answer, or its error, or the last chunk of a stream."""
    response = httpx.post(f"{url}/v1/completions", json=fields, timeout=240)
    lines = response.text.removesuffix("data: [DONE]\n\n").strip().split("data: ")
    answer: Answer = json.loads(lines[-1])
    return answer


@cache
def ask_plainly(url: str, fields: str) -> Answer:
    for _ in range(2):  # The second finds what the first has cached.
        answer = ask(url, **json.loads(fields))
    return answer


@pytest.mark.parametrize("name", COMPLETION_FIELDS.honoured.__struct_fields__)
def test_it_does_what_its_name_says(demo_server: str, name: str) -> None:
    asking = partial(ask, demo_server), partial(ask_plainly, demo_server)
    refused = check_row(name, ROWS[name], GREEDY, *asking)
    assert refused["error"]["param"].startswith(name)


def test_harmless_fields_change_nothing(demo_server: str) -> None:
    expected = ask(demo_server, **GREEDY)["choices"]
    given = dict.fromkeys(COMPLETION_FIELDS.harmless, "x")
    assert ask(demo_server, **GREEDY, **given)["choices"] == expected


@pytest.mark.parametrize("name", [*COMPLETION_FIELDS.refused, *COMPLETION_FIELDS.fixed, "zzz"])
def test_what_is_not_honoured_is_named(demo_server: str, name: str) -> None:
    answer = ask(demo_server, **GREEDY, **{name: "xml"})
    assert answer["error"]["param"] == name
