"""Each honoured field of a chat, sent alone with another value than its default, does something.

Truth is what its name says, read off the answer, and the names of fields in refusals.
"""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from field_rows import Answer, Row, Texts, check_row, fails
from octavo import LLM, SamplingParams
from octavo.app import DEMO_MODEL
from octavo.app.http.chat.chat_fields import CHAT_FIELDS
from octavo.app.http.chat.chat_request import ChatCompletionRequest
from octavo.core.protocol.request_error import RequestError
from serving import chat
from tokenizers import Tokenizer

#: What the demo model says to "Hello": 'Hello! Show me a picture and I will tell you what I see.'
GREEDY = {"max_tokens": 40, "temperature": 0}
#: Of which each answer is another one, unless a field narrows the choice down.
RANDOM = {"max_tokens": 40, "temperature": 2.0, "seed": 1}
BEAMS = {"max_tokens": 8, "use_beam_search": True, "n": 2}
TOKENIZER = Tokenizer.from_file(str(Path(DEMO_MODEL, "tokenizer.json")))
PICTURE = "data:image/gif;base64,R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="
SHOWN = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]
LONG = [{"role": "user", "content": "What is in your picture? " * 4}]
OPEN = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}]


def text(answer: Answer) -> str:
    found: str = answer["choices"][0]["message"]["content"]
    return found


def ends(answer: Answer) -> str:
    found: str = answer["choices"][0]["finish_reason"]
    return found


def prompt(answer: Answer) -> int:
    count: int = answer["usage"]["prompt_tokens"]
    return count


def written(answer: Answer) -> int:
    count: int = answer["usage"]["completion_tokens"]
    return count


def token(word: str) -> int:
    found: int = TOKENIZER.token_to_id(word)
    return found


def repeats(answer: Answer) -> int:
    """Tokens of an answer that were in it before."""
    ids = TOKENIZER.encode(text(answer), add_special_tokens=False).ids
    return len(ids) - len(set(ids))


def fewer_repeats(plain: Answer, answer: Answer) -> bool:
    return repeats(answer) < repeats(plain)


LENGTHY = {**GREEDY, "ignore_eos": True}
TEXTS = Texts(text, "Hello! Show me a picture and I will tell you what I see.")
is_greedy = TEXTS.is_greedy
differs = TEXTS.differs
ROWS: dict[str, Row] = {
    "messages": Row(LONG, lambda plain, a: prompt(a) > prompt(plain), []),
    "model": Row("octavo-demo", lambda plain, a: text(a) == text(plain), "zzz"),
    "max_tokens": Row(3, lambda plain, a: (written(a), ends(a)) == (3, "length"), 0),
    "max_completion_tokens": Row(
        3, lambda plain, a: (written(a), ends(a)) == (3, "length"), 0, {"temperature": 0}
    ),
    "n": Row(2, lambda plain, a: len(a["choices"]) == 2, 0),
    "presence_penalty": Row(2, fewer_repeats, 3, LENGTHY),
    "frequency_penalty": Row(2, fewer_repeats, 3, LENGTHY),
    "repetition_penalty": Row(5, differs, 0),
    "temperature": Row(2, differs, -1, {"max_tokens": 40, "seed": 1, "top_p": 1}),
    "top_p": Row(1e-6, is_greedy, 2, RANDOM),
    "top_k": Row(1, is_greedy, -2, RANDOM),
    "min_p": Row(1, is_greedy, 2, RANDOM),
    "seed": Row(2, differs, "x", RANDOM),
    "stop": Row(" me", lambda plain, a: text(a) == "Hello! Show", list("abcde")),
    "stop_token_ids": Row([token("!")], lambda plain, a: text(a).rstrip("!") == "Hello", [10**6]),
    "bad_words": Row(["picture"], lambda plain, a: "picture" not in text(a), [""]),
    "ignore_eos": Row(True, lambda plain, a: (ends(plain), ends(a)) == ("stop", "length"), "x"),
    "min_tokens": Row(30, lambda plain, a: written(plain) < 30 <= written(a), 41),
    "logprobs": Row(True, lambda plain, a: len(a["choices"][0]["logprobs"]["content"]) > 1, "x"),
    "top_logprobs": Row(
        3,
        lambda plain, a: len(a["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3,
        21,
        {**GREEDY, "logprobs": True},
    ),
    "prompt_logprobs": Row(1, lambda plain, a: len(a["prompt_logprobs"]) == prompt(a), 21),
    "logit_bias": Row({token("!"): 100}, lambda plain, a: text(a) == "!" * 40, {"x": 1}),
    "allowed_token_ids": Row([token("!")], lambda plain, a: text(a) == "!" * 40, [10**6]),
    "logits_processors": Row({}, lambda plain, a: text(a) == text(plain), {"zzz": {}}),
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
        lambda plain, a: len({c["message"]["content"] for c in a["choices"]}) == 2,
        "x",
        {"max_tokens": 8, "temperature": 0, "n": 2},
    ),
    "length_penalty": Row(-10, differs, 1e300, {**BEAMS, "max_tokens": 40}),
    "early_stopping": Row(True, lambda plain, a: len(a["choices"]) == 2, "now", BEAMS),
    "priority": Row(1, fails, 2**70),
    "cache_salt": Row(
        "salt of its own",
        lambda plain, a: (
            a["usage"]["prompt_tokens_details"]["cached_tokens"]
            < plain["usage"]["prompt_tokens_details"]["cached_tokens"]
        ),
        "x" * 1025,
        {**GREEDY, "messages": LONG},
    ),
    "queue_timeout": Row(60, lambda plain, a: text(a) == text(plain), 0),
    "timeout": Row(1e-9, lambda plain, a: a["error"]["code"] == "timeout", 0),
    "max_image_tokens": Row(8, fails, 0, {**GREEDY, "messages": SHOWN}),
    "tools": Row([], lambda plain, a: text(a) == text(plain), [{"zzz": 1}]),
    "parallel_tool_calls": Row(False, lambda plain, a: text(a) == text(plain), "x"),
    "include_reasoning": Row(False, lambda plain, a: text(a) == text(plain), "x"),
    "skip_special_tokens": Row(False, lambda plain, a: text(a) == text(plain), "x"),
    "tool_choice": Row("none", lambda plain, a: text(a) == text(plain), "required"),
    "chat_template_kwargs": Row(
        {"add_generation_prompt": False},
        lambda plain, a: prompt(a) == prompt(plain) - 1,
        {"tokenize": True},
    ),
    "add_generation_prompt": Row(False, lambda plain, a: prompt(a) == prompt(plain) - 1, "x"),
    "continue_final_message": Row(
        True, lambda plain, a: text(a).startswith(" Show"), "x", {**GREEDY, "messages": OPEN}
    ),
    "stream": Row(True, lambda plain, a: a["object"] == "chat.completion.chunk", "x"),
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


@cache
def ask_plainly(url: str, fields: str) -> Answer:
    return ask(url, **json.loads(fields))


def ask(url: str, **fields: Any) -> Answer:
    """The answer, or its error, or the last chunk of a stream."""
    response = chat(url, **fields)
    lines = response.text.removesuffix("data: [DONE]\n\n").strip().split("data: ")
    answer: Answer = json.loads(lines[-1])
    return answer


@pytest.mark.parametrize("name", CHAT_FIELDS.honoured.__struct_fields__)
def test_it_does_what_its_name_says(demo_server: str, name: str) -> None:
    asking = partial(ask, demo_server), partial(ask_plainly, demo_server)
    refused = check_row(name, ROWS[name], GREEDY, *asking)
    assert refused["error"]["param"].startswith(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"length_penalty": 2.0},
        {"early_stopping": True},
        *({**BEAMS, name: 0.5} for name in ("temperature", "top_p", "min_p")),
        *({**BEAMS, name: 2} for name in ("top_k", "repetition_penalty", "presence_penalty")),
        *({**BEAMS, name: 2} for name in ("min_tokens", "frequency_penalty")),
        *({**BEAMS, name: [9]} for name in ("allowed_token_ids", "stop_token_ids")),
        {**BEAMS, "logit_bias": {"9": 1}},
        {**BEAMS, "bad_words": ["a"]},
        {**BEAMS, "include_timings": True},
        {**BEAMS, "guided_regex": "a"},
    ],
)
def test_what_does_nothing_beside_other_fields_is_refused(
    demo_server: str, fields: dict[str, Any]
) -> None:
    error = chat(demo_server, **fields).json()["error"]
    assert error["param"] == list(fields)[-1]
    assert "use_beam_search" in error["message"]


@pytest.mark.parametrize(
    ("defaults", "without"),
    [({"repetition_penalty": 1.05}, {"repetition_penalty": 1}), ({"stop": ("x",)}, {"stop": []})],
)
def test_a_model_s_defaults_that_beams_do_without_are_said(
    defaults: dict[str, Any], without: dict[str, Any]
) -> None:
    request = msgspec.convert({"messages": [], **BEAMS}, ChatCompletionRequest)
    with pytest.raises(RequestError, match=f"{next(iter(defaults))}, which a beam search does"):
        request.beam_search_params(100, defaults)
    request = msgspec.convert({"messages": [], **BEAMS, **without}, ChatCompletionRequest)
    assert request.beam_search_params(100, {**defaults, "temperature": 0.7, "top_k": 3})


def test_the_two_names_of_one_limit(demo_server: str) -> None:
    error = chat(demo_server, max_tokens=1, max_completion_tokens=2).json()["error"]
    assert error["param"] == "max_completion_tokens"
    assert chat(demo_server, max_tokens=1, max_completion_tokens=1).status_code == 200
    error = chat(demo_server, max_completion_tokens=10**6).json()["error"]
    assert error["param"] == "max_completion_tokens"
    assert error["message"].startswith("max_completion_tokens is 1000000")


def test_priorities_offline_need_their_policy(offline: LLM) -> None:
    with pytest.raises(RequestError, match="scheduling_policy") as raised:
        offline.generate(["a", "b"], SamplingParams(max_tokens=1), priority=[0, 1])
    assert raised.value.param == "priority"
    assert len(offline.generate(["a"], SamplingParams(max_tokens=1), priority=[0])) == 1
