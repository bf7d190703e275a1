"""What a chat may cost is told before it is tokenised, and never of one that fits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from octavo import LLM
from octavo.app.serving.chat_messages import read_messages
from octavo.core.prompts.prompt_cost import PromptBudget
from octavo.core.protocol.request_error import RequestError
from octavo.core.protocol.sampling_params import SamplingParams
from tokenizers import Tokenizer


def spend(messages: list[dict[str, Any]], tokens: int = 8, longest: int = 4, **options: Any) -> int:
    return PromptBudget(tokens, longest).spend(messages, options)


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


TOO_MUCH = {
    "text": ([user("x" * 33)], {}, "messages[0].content"),
    "bytes, not characters": ([user("ü" * 17)], {}, "messages[0].content"),
    "all messages together": ([user("x" * 10)] * 4, {}, "messages[2].content"),
    "a part": ([user([text("x"), text("x" * 40)])], {}, "messages[0].content[1]"),
    "many messages": ([user("")] * 9, {}, "messages[8]"),
    "many parts": ([user([text("")] * 9)], {}, "messages[0].content[7]"),
    "the call of a tool": (
        [user(None, tool_calls=[{"arguments": {"a": "x" * 40}}])],
        {},
        "messages[0].tool_calls",
    ),
    "tools": ([user("x")], {"tools": [{"x" * 40: 1}]}, "tools"),
    "many tools": ([user("x")], {"tools": [[]] * 40}, "tools"),
    "an option": ([user("x")], {"thinking": ["x" * 40]}, "chat_template_kwargs.thinking"),
    "an option's name": ([user("x")], {"x" * 40: 1}, f"chat_template_kwargs.{'x' * 40}"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_the_part_beyond_the_bound_is_named(name: str) -> None:
    messages, options, param = TOO_MUCH[name]
    with pytest.raises(RequestError) as raised:
        spend(messages, **options)
    assert raised.value.param == param
    assert str(raised.value).startswith(f"with {param} ")


def test_within_the_bound_the_bytes_are_told() -> None:
    assert spend([user("x" * 28)]) == 4 + 28
    assert spend([user([text("é"), {"type": "image"}, text("x")])]) == 4 + 2 + 1


@pytest.mark.parametrize("model", ["llama", "llava-clip", "demo"])
def test_no_prompt_that_fits_is_refused(checkpoints: dict[str, Path], model: str) -> None:
    llm = LLM(str(checkpoints[model]), dtype="float32", kv_cache_memory=2**24)
    inputs, facts = llm._inputs, llm._facts
    # The same file, read without Octavo or transformers.
    backend = Tokenizer.from_file(str(checkpoints[model] / "tokenizer.json"))
    # What single tokens stand for, between others, as some drop the space that a text begins with.
    around = backend.encode("a", add_special_tokens=False).ids
    bare = len(backend.decode(around * 2).encode())
    ids = range(backend.get_vocab_size())
    lengths = {
        i: len(backend.decode([*around, i, *around], skip_special_tokens=False).encode()) - bare
        for i in ids
    }
    assert max(lengths.values()) <= inputs.tokenizer.longest_token
    generator = random.Random(0)
    for token in [max(ids, key=lengths.__getitem__), *generator.sample(ids, 20)]:
        # As many as would fill the context, were the template empty.
        written = backend.decode([token] * (facts.max_model_len - 8), skip_special_tokens=False)
        messages, _ = read_messages([user(written)])
        params = SamplingParams(bad_words=["x" * 10])
        spent = inputs.check_cost(messages, {}, params, facts)
        assert spent == len(written.encode()) + 4 + 10 + 1
    beyond = "x" * (facts.max_model_len * inputs.tokenizer.longest_token + 1)
    with pytest.raises(RequestError, match="bad_words"):
        inputs.check_cost([], {}, SamplingParams(bad_words=[beyond]), facts)
