"""Greedy tokens and log-probabilities equal transformers' on the same checkpoint in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM, SamplingParams
from octavo.core.engine.engine_core import EngineCore
from PIL import Image
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer
from transformers import LlavaForConditionalGeneration as HFLlava

NUM_TOKENS = 12
GREEDY = SamplingParams(temperature=0, max_tokens=NUM_TOKENS, ignore_eos=True, logprobs=-1)


def conversation(text: str, images: list[Image.Image]) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


class Reference:
    """transformers' answer to one conversation."""

    def __init__(self, folder: Path) -> None:
        self.multimodal = folder.name != "llama" and folder.name != "llama-tied"
        if self.multimodal:
            self.model = HFLlava.from_pretrained(folder, dtype=torch.float32)
            self.processor = AutoProcessor.from_pretrained(folder)
        else:
            self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            self.processor = AutoTokenizer.from_pretrained(folder)

    def answer(self, messages: list[dict[str, Any]]) -> tuple[list[int], list[int], torch.Tensor]:
        """Prompt ids, generated ids, and log-probabilities [NUM_TOKENS, vocab_size]."""
        inputs = self.processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        result = self.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=NUM_TOKENS,
            min_new_tokens=NUM_TOKENS,
            eos_token_id=-1,
            output_logits=True,
            return_dict_in_generate=True,
        )
        prompt = inputs["input_ids"][0].tolist()
        logprobs = torch.cat(result.logits).float().log_softmax(-1)
        return prompt, result.sequences[0, len(prompt) :].tolist(), logprobs


def logprob_matrix(completion: Any) -> torch.Tensor:
    rows = []
    for position in completion.logprobs:
        row = torch.empty(len(position.top_ids))
        row[torch.tensor(position.top_ids)] = torch.tensor(position.top_logprobs)
        rows.append(row)
    return torch.stack(rows)


def check_equal(output: Any, expected: tuple[list[int], list[int], torch.Tensor]) -> None:
    prompt, token_ids, logprobs = expected
    assert output.prompt_token_ids == prompt
    assert output.outputs[0].token_ids == token_ids
    torch.testing.assert_close(logprob_matrix(output.outputs[0]), logprobs, atol=1e-4, rtol=0)


def conversations(name: str, pictures: list[Image.Image]) -> list[list[dict[str, Any]]]:
    """Prompts of different lengths, with 0, 1 and 3 images where the model sees."""
    texts = ["Hello there", "What is this, and " + "how many more " * 9 + "are there?"]
    plain = [conversation(text, []) for text in texts]
    if name.startswith("llama"):
        return plain
    return [
        *plain,
        conversation("What is this?", pictures[:1]),
        conversation("Which image shows a dog?", pictures),
    ]


@pytest.mark.parametrize("name", ["llama", "llama-tied", "llava-clip", "llava-siglip", "demo"])
def test_equal_alone_together_and_in_chunks(
    name: str, checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    reference = Reference(checkpoints[name])
    prompts = conversations(name, pictures)
    expected = [reference.answer(prompt) for prompt in prompts]

    llm = LLM(checkpoints[name], dtype="float32", kv_cache_memory=32 * 2**20)
    for prompt, answer in zip(prompts, expected, strict=True):
        check_equal(llm.chat(prompt, GREEDY)[0], answer)

    fresh = LLM(checkpoints[name], dtype="float32", kv_cache_memory=32 * 2**20)
    for output, answer in zip(fresh.chat(prompts, GREEDY), expected, strict=True):
        check_equal(output, answer)

    # So few tokens a step that prompts are cut, also inside images, and requests join late.
    chunked = LLM(
        checkpoints[name], dtype="float32", kv_cache_memory=32 * 2**20, max_num_batched_tokens=23
    )
    for output, answer in zip(chunked.chat(prompts, GREEDY), expected, strict=True):
        check_equal(output, answer)
    assert chunked.num_free_blocks == chunked._core.describe().num_blocks


def test_requests_that_join_at_different_steps(
    checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    reference = Reference(checkpoints["llava-siglip"])
    prompts = conversations("llava", pictures)
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
    inputs = reference.processor.apply_chat_template(
        [prompt[0]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
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
