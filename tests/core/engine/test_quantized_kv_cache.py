"""Keys and values of eight bits: what is said, and how much memory it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM, SamplingParams
from octavo.core.protocol.config import ConfigError, EngineConfig
from octavo.core.protocol.outputs import RequestOutput
from PIL import Image
from text_checkpoints import save_text_model
from vision_checkpoints.gemma import save_gemma3

PARAMS = SamplingParams(temperature=0, max_tokens=8, logprobs=0, prompt_logprobs=0, ignore_eos=True)
QUANTIZED = ("int8", "fp8")
#: The most that log-probabilities of these random models, which spread by more than 1, change on
#: average.
BOUNDS = {"int8": 0.05, "fp8": 0.25}


def make_llm(folder: Path, dtype: str, **settings: Any) -> LLM:
    settings = {"kv_cache_memory": 8 << 20, **settings}
    return LLM(folder, dtype="float32", kv_cache_dtype=dtype, **settings)


def prompts(count: int, length: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    return [{"prompt_token_ids": torch.randint(3, 2048, (length,)).tolist()} for _ in range(count)]


def logprobs(outputs: list[RequestOutput]) -> torch.Tensor:
    """Of all tokens of the prompts."""
    known = [entry for output in outputs for entry in output.prompt_logprobs or () if entry]
    return torch.tensor([entry.chosen for entry in known])


def said(outputs: list[RequestOutput]) -> list[tuple[list[int], list[float]]]:
    """Tokens of the answers, and their log-probabilities."""
    answers = [output.outputs[0] for output in outputs]
    return [
        (list(answer.token_ids), [entry.chosen for entry in answer.logprobs or ()])
        for answer in answers
    ]


def assert_same(actual: list[RequestOutput], expected: list[RequestOutput]) -> None:
    for (tokens, found), (wanted, exact) in zip(said(actual), said(expected), strict=True):
        assert tokens == wanted
        assert found == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "olmo2", "deepseek-v3"])
def test_answers_change_little(name: str, dtype: str, tmp_path: Path) -> None:
    """Of plugins' models and of deployed ones; with windows, a soft cap, and keys wider than
    values. Prompts are computed in chunks."""
    folder = save_text_model(tmp_path, name)
    asked = prompts(4, 100)
    exact = make_llm(folder, "float32").generate(asked, PARAMS)
    actual = make_llm(folder, dtype, max_num_batched_tokens=70).generate(asked, PARAMS)
    change = (logprobs(actual) - logprobs(exact)).abs().mean().item()
    assert logprobs(exact).std() > 1
    # A cache that is not quantised would change nothing.
    assert 1e-4 < change < BOUNDS[dtype]


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_images_that_see_all_of_themselves(
    dtype: str, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    content = [
        {"type": "image", "image": pictures[0]},
        {"type": "text", "text": "what is this?"},
    ]
    messages = [{"role": "user", "content": content}]
    folder = save_gemma3(tmp_path)
    exact = make_llm(folder, "float32").chat(messages, PARAMS)
    actual = make_llm(folder, dtype).chat(messages, PARAMS)
    change = (logprobs(actual) - logprobs(exact)).abs().mean().item()
    assert 1e-5 < change < BOUNDS[dtype]


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_a_cache_hit_and_chunks_give_the_same(dtype: str, tmp_path: Path) -> None:
    folder = save_text_model(tmp_path, "llama")
    params = SamplingParams(temperature=0, max_tokens=20, logprobs=0, ignore_eos=True)
    (first,) = prompts(1, 90)
    ids = first["prompt_token_ids"]
    asked = [
        {"prompt_token_ids": [*ids[:67], *other["prompt_token_ids"]]} for other in prompts(5, 9)
    ]
    alone = make_llm(folder, dtype, enable_prefix_caching=False).generate(asked, params)
    llm = make_llm(folder, dtype)
    llm.generate(first, params)
    assert_same(llm.generate(asked, params), alone)
    assert llm.stats().prefix_cache_hits >= 5 * 64
    chunked = make_llm(folder, dtype, enable_prefix_caching=False, max_num_batched_tokens=33)
    assert_same(chunked.generate(asked, params), alone)


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_preempted_requests_go_on_as_they_would(dtype: str, tmp_path: Path) -> None:
    folder = save_text_model(tmp_path, "llama")
    params = SamplingParams(temperature=0, max_tokens=60, logprobs=0, ignore_eos=True)
    asked = prompts(6, 40)
    roomy = make_llm(folder, dtype, max_model_len=112)
    scarce = make_llm(folder, dtype, max_model_len=112, kv_cache_memory=20 * block_bytes(dtype))
    assert_same(scarce.generate(asked, params), roomy.generate(asked, params))
    assert scarce.stats().num_preemptions > 0
    assert roomy.stats().num_preemptions == 0


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_batch_invariance_to_the_bit(dtype: str, tmp_path: Path) -> None:
    folder = save_text_model(tmp_path, "llama")
    params = SamplingParams(temperature=0, max_tokens=6, logprobs=0, ignore_eos=True)
    asked = prompts(3, 40)
    llm = make_llm(folder, dtype, batch_invariant=True)
    alone = [said(llm.generate(prompt, params))[0] for prompt in asked]
    assert said(llm.generate(asked, params)) == alone
    assert llm.stats().prefix_cache_hits > 0


def block_bytes(dtype: str) -> int:
    """Of the models here: 16 tokens in two layers, keys and values of two heads of sixteen
    numbers, and in eight bits a float32 for each."""
    head = {"float32": 64, "bfloat16": 32}.get(dtype, 16 + 4)
    return 16 * 2 * 2 * 2 * head


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", *QUANTIZED])
def test_blocks_are_counted_with_their_scales(dtype: str, tmp_path: Path) -> None:
    llm = make_llm(save_text_model(tmp_path, "llama"), dtype, kv_cache_memory=10**6)
    assert llm.num_free_blocks == 10**6 // block_bytes(dtype)


def test_names() -> None:
    assert EngineConfig(model="m", kv_cache_dtype="fp8_e4m3") == EngineConfig(
        model="m", kv_cache_dtype="fp8"
    )
    with pytest.raises(ConfigError, match=r"kv_cache_dtype must be one of .*, got 'fp8_e5m2'"):
        EngineConfig(model="m", kv_cache_dtype="fp8_e5m2")
