"""Holds Octavo's answers against transformers' on the same checkpoint, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from octavo import LLM, SamplingParams
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)

NUM_TOKENS = 12
GREEDY = SamplingParams(temperature=0, max_tokens=NUM_TOKENS, ignore_eos=True, logprobs=-1)


def conversation(text: str, images: list[Image.Image]) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


class Reference:
    """transformers' answer to one conversation, with attention that leaves nothing out."""

    def __init__(self, folder: Path) -> None:
        config = AutoConfig.from_pretrained(folder)
        self.multimodal = hasattr(config, "vision_config")
        auto = AutoModelForImageTextToText if self.multimodal else AutoModelForCausalLM
        self.model = auto.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        loader = AutoProcessor if self.multimodal else AutoTokenizer
        self.processor = loader.from_pretrained(folder)

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


def conversations(multimodal: bool, pictures: list[Image.Image]) -> list[list[dict[str, Any]]]:
    """Prompts of different lengths, with 0, 1 and 3 images where the model sees."""
    texts = ["Hello there", "What is this, and " + "how many more " * 9 + "are there?"]
    plain = [conversation(text, []) for text in texts]
    if not multimodal:
        return plain
    return [
        *plain,
        conversation("What is this?", pictures[:1]),
        conversation("Which image shows a dog?", pictures),
    ]


def check_parity(folder: Path, pictures: list[Image.Image], chunk: int) -> None:
    """Alone and then again from the prefix cache, in one batch without one, and in chunks of so
    few tokens that prompts are cut and requests join late."""
    reference = Reference(folder)
    prompts = conversations(reference.multimodal, pictures)
    expected = [reference.answer(prompt) for prompt in prompts]

    def load(**settings: Any) -> LLM:
        return LLM(folder, dtype="float32", kv_cache_memory=32 * 2**20, **settings)

    alone = load()
    for _ in range(2):
        for prompt, answer in zip(prompts, expected, strict=True):
            check_equal(alone.chat(prompt, GREEDY)[0], answer)
    assert alone.stats().prefix_cache_hits

    for llm in (load(enable_prefix_caching=False), load(max_num_batched_tokens=chunk)):
        for output, answer in zip(llm.chat(prompts, GREEDY), expected, strict=True):
            check_equal(output, answer)
        assert llm.num_free_blocks == llm._core.describe().num_blocks
        llm._core.check_integrity()
