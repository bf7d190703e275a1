"""In batch_invariant mode log-probabilities are equal to the bit, whatever else runs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from octavo import LLM, SamplingParams
from PIL import Image

PARAMS = SamplingParams(temperature=0, max_tokens=6, logprobs=3, prompt_logprobs=0, ignore_eos=True)


def prompts(count: int, pictures: list[Image.Image]) -> list[list[dict[str, Any]]]:
    """Conversations of different lengths; every third one has an image."""
    made = []
    for i in range(count):
        parts: list[dict[str, Any]] = [{"type": "text", "text": "how many " * (i % 7) + f"is {i}?"}]
        if i % 3 == 0:
            parts.insert(0, {"type": "image", "image": pictures[i % len(pictures)]})
        made.append([{"role": "user", "content": parts}])
    return made


def run(llm: LLM, batch: list[Any], params: SamplingParams = PARAMS) -> list[tuple[object, ...]]:
    return [
        (output.outputs[0].token_ids, output.outputs[0].logprobs, output.prompt_logprobs)
        for output in llm.chat(batch, params)
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bit_equal_in_any_batch(
    dtype: str, checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    folder = checkpoints["llava-siglip"]
    settings: dict[str, Any] = {"dtype": dtype, "kv_cache_memory": 16 * 2**20}
    conversations = prompts(44, pictures)
    llm = LLM(folder, batch_invariant=True, **settings)
    alone = [run(llm, [conversation])[0] for conversation in conversations[:8]]
    assert run(llm, conversations[:8]) == alone
    order = list(range(44))
    random.Random(0).shuffle(order)
    chunked = LLM(folder, batch_invariant=True, max_num_batched_tokens=50, **settings)
    shuffled = run(chunked, [conversations[i] for i in order])
    assert [shuffled[order.index(i)] for i in range(8)] == alone


def test_bit_equal_after_a_cache_hit(
    checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    params = SamplingParams(temperature=0, max_tokens=6, logprobs=3, ignore_eos=True)
    llm = LLM(checkpoints["llava-siglip"], dtype="float32", batch_invariant=True)
    conversation = prompts(7, pictures)[6]
    first = run(llm, [conversation], params)
    hits = llm.stats().prefix_cache_hits
    assert run(llm, [conversation], params) == first
    assert llm.stats().prefix_cache_hits > hits


def test_close_to_the_ordinary_mode(
    checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    conversations = prompts(6, pictures)
    folder = checkpoints["llava-siglip"]
    invariant = LLM(folder, dtype="float32", batch_invariant=True).chat(conversations, PARAMS)
    ordinary = LLM(folder, dtype="float32").chat(conversations, PARAMS)
    for one, other in zip(invariant, ordinary, strict=True):
        assert one.outputs[0].token_ids == other.outputs[0].token_ids
        assert one.outputs[0].logprobs is not None
        assert other.outputs[0].logprobs is not None
        for a, b in zip(one.outputs[0].logprobs, other.outputs[0].logprobs, strict=True):
            assert a.chosen == pytest.approx(b.chosen, abs=1e-4)
