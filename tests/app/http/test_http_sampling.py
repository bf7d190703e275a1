"""The HTTP API takes every sampling field, and means by it what the offline class means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from octavo import LLM, BeamSearchParams, SamplingParams
from octavo.app import DEMO_MODEL
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.prompts.tokenizer import Tokenizer
from openai import OpenAI
from serving import chat

MODEL = "octavo-demo"
QUESTION: Any = [{"role": "user", "content": "What can you do?"}]


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


#: Fields of the openai SDK, and those that it passes in extra_body.
FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"n": 3, "temperature": 1.0, "seed": 7, "top_p": 0.9}, {"top_k": 40, "min_p": 0.02}),
    ({"temperature": 0, "presence_penalty": 1.5, "frequency_penalty": 0.5}, {}),
    ({"temperature": 0}, {"repetition_penalty": 1.8, "min_tokens": 12}),
    ({"temperature": 0}, {"allowed_token_ids": list(range(300, 330))}),
    ({"temperature": 0, "stop": ["a", "e"]}, {"bad_words": ["This", "I"]}),
    ({"temperature": 0}, {"stop_token_ids": [265], "ignore_eos": True}),
]


@pytest.mark.parametrize(("standard", "extra"), FIELDS)
@pytest.mark.parametrize("stream", [False, True])
def test_same_answers_as_offline(
    client: OpenAI,
    offline: LLM,
    standard: dict[str, Any],
    extra: dict[str, Any],
    stream: bool,
) -> None:
    params = offline.default_sampling_params(**standard, **extra, max_tokens=16)
    expected = [c.text for c in offline.chat(QUESTION, params)[0].outputs]
    answers = ask(client, standard, extra, stream)
    assert answers == expected
    assert len(answers) == params.n


def ask(client: OpenAI, standard: dict[str, Any], extra: dict[str, Any], stream: bool) -> list[str]:
    settings = {"model": MODEL, "messages": QUESTION, "max_tokens": 16, **standard}
    if not stream:
        completion = client.chat.completions.create(**settings, extra_body=extra)
        return [choice.message.content or "" for choice in completion.choices]
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    for chunk in client.chat.completions.create(**settings, extra_body=extra, stream=True):
        for choice in chunk.choices:
            assert choice.index not in ends, "more after the end"
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert set(ends) == set(texts)
    return [texts[index] for index in sorted(texts)]


def test_logit_bias(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=QUESTION, logit_bias={"300": 100}, max_tokens=4, logprobs=True
    )
    tokens = [entry.token for entry in completion.choices[0].logprobs.content]
    assert len(set(tokens)) == 1


def test_beam_search(client: OpenAI, offline: LLM) -> None:
    completion = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        n=3,
        max_tokens=8,
        extra_body={"use_beam_search": True, "length_penalty": 0.5, "early_stopping": True},
    )
    request = offline.prepare_chat(QUESTION, SamplingParams())
    params = BeamSearchParams(beam_width=3, max_tokens=8, length_penalty=0.5, early_stopping=True)
    (expected,) = offline.beam_search({"prompt_token_ids": request.prompt_token_ids}, params)
    assert [c.message.content for c in completion.choices] == [c.text for c in expected.outputs]


def test_prompt_logprobs_and_cached_tokens(url: str) -> None:
    body = chat(url, "How are you today? " * 4, max_tokens=1, prompt_logprobs=1).json()
    count = body["usage"]["prompt_tokens"]
    assert len(body["prompt_logprobs"]) == count
    assert body["prompt_logprobs"][0] is None
    assert all(entry["rank"] >= 1 for entry in body["prompt_logprobs"][5].values())
    usage = chat(url, "How are you today? " * 4, max_tokens=1).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == (count - 1) // 16 * 16
    salted = chat(url, "How are you today? " * 4, max_tokens=1, cache_salt="mine").json()["usage"]
    assert salted["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_bytes_join_to_the_text(client: OpenAI, stream: bool) -> None:
    """Half characters among them, as every token is one of a smile's four bytes."""
    smile = Tokenizer(Checkpoint("demo", Path(DEMO_MODEL))).encode_text("😀")
    settings: Any = {
        "model": MODEL,
        "messages": QUESTION,
        "max_tokens": 40,
        "temperature": 1,
        "seed": 3,
        "logprobs": True,
        "top_logprobs": 4,
        "extra_body": {"allowed_token_ids": smile},
    }
    if stream:
        choices = [c.choices[0] for c in client.chat.completions.create(**settings, stream=True)]
        text = "".join(choice.delta.content or "" for choice in choices)
    else:
        choices = client.chat.completions.create(**settings).choices
        text = choices[0].message.content or ""
    entries = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content]
    written = bytes(byte for entry in entries for byte in entry.bytes)
    assert len(written) == len(entries) == 40
    assert written.decode(errors="replace") == text
    for entry in entries:
        assert len({other.token for other in entry.top_logprobs}) == 4
