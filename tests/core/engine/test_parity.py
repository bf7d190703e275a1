"""Greedy tokens and log-probabilities equal transformers', however requests meet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from octavo import LLM, SamplingParams
from octavo.core.engine.engine_core import EngineCore
from parity import GREEDY, Reference, apply_template, check_parity, conversation, conversations
from PIL import Image
from text_checkpoints import save_text_model


@pytest.mark.parametrize("name", ["llava-siglip", "demo"])
def test_equal_alone_together_and_in_chunks(
    name: str, checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    check_parity(checkpoints[name], pictures, chunk=23)


def test_a_stored_head_is_used_whatever_the_config_says(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    save_text_model(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    check_parity(tmp_path, pictures, chunk=23)


def test_requests_that_join_at_different_steps(
    checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    reference = Reference(checkpoints["llava-siglip"])
    prompts = conversations(True, pictures)
    llm = LLM(checkpoints["llava-siglip"], dtype="float32", kv_cache_memory=32 * 2**20)
    core: EngineCore = llm._core
    tokens: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        request = llm.prepare_chat(prompt, GREEDY)
        tokens[request.request_id] = []
        assert core.add(request) == []
        for _ in range(1 + i):
            for output in core.step():
                tokens[output.request_id] += output.new_token_ids
            core.check_integrity()
    while core.has_unfinished():
        for output in core.step():
            tokens[output.request_id] += output.new_token_ids
        core.check_integrity()
    assert list(tokens.values()) == [reference.answer(prompt)[1] for prompt in prompts]


def test_prompt_logprobs(checkpoints: dict[str, Path], pictures: list[Image.Image]) -> None:
    """Also when the prompt is in the prefix cache, cut into chunks, or preempted half-way."""
    prompt = conversation("What is this, and what is on its left?", pictures[:1])
    reference = Reference(checkpoints["llava-siglip"])
    inputs = apply_template(reference.processor, [prompt[0]])
    expected = reference.model(**inputs).logits[0].log_softmax(-1)
    ids = inputs["input_ids"][0].tolist()
    params = SamplingParams(temperature=0, max_tokens=4, prompt_logprobs=2, ignore_eos=True)
    llm = LLM(checkpoints["llava-siglip"], dtype="float32", max_num_batched_tokens=17)
    for output in [*llm.chat(prompt, params), *llm.chat([prompt, prompt], params)]:
        assert output.prompt_logprobs is not None
        assert output.prompt_logprobs[0] is None
        assert len(output.prompt_logprobs) == len(ids)
        for position, entry in enumerate(output.prompt_logprobs[1:]):
            row = expected[position]
            assert entry is not None
            assert entry.chosen == pytest.approx(row[ids[position + 1]].item(), abs=1e-4)
            assert entry.rank == int((row > row[ids[position + 1]]).sum()) + 1
            torch.testing.assert_close(
                torch.tensor(entry.top_logprobs), row.topk(2).values, atol=1e-4, rtol=0
            )


def test_preempted_requests_give_the_same_tokens(checkpoints: dict[str, Path]) -> None:
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    prompts = [f"{'word ' * (5 + i)}" for i in range(6)]
    roomy = LLM(checkpoints["llama"], dtype="float32", max_model_len=128)
    # 8 blocks of 16 tokens are what one request of 128 tokens needs, and six ask for more.
    block_bytes = 2 * 2 * 2 * 16 * 4 * 16
    starved = LLM(
        checkpoints["llama"], dtype="float32", max_model_len=128, kv_cache_memory=8 * block_bytes
    )
    expected = [output.outputs[0].token_ids for output in roomy.generate(prompts, params)]
    assert starved.num_free_blocks == 8
    outputs = starved.generate(prompts, params)
    assert [output.outputs[0].token_ids for output in outputs] == expected
    assert starved.num_free_blocks == 8
    starved._core.check_integrity()
