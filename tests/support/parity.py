"""Holds Octavo's answers against transformers' on the same checkpoint, in float32."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from octavo import LLM, SamplingParams
from octavo.app.offline.pictures import PictureReader
from octavo.app.serving.chat_messages import read_messages
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.prompts.input_processor import InputProcessor
from octavo.core.protocol.config import EngineConfig
from octavo.core.protocol.messages import EngineFacts
from octavo.core.registry.registry import get_registry
from PIL import Image, ImageOps
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


def apply_template(processor: Any, messages: list[dict[str, Any]]) -> Any:
    """What transformers feeds the model with."""
    if not processor.chat_template:
        return _apply_without_template(processor, messages[0]["content"])
    return processor.apply_chat_template(
        messages,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def _apply_without_template(processor: Any, content: list[dict[str, Any]]) -> Any:
    """For PaliGemma, whose processor takes images before a text, and no text alone."""
    images = [part["image"] for part in content[:-1]]
    text = content[-1]["text"]
    if images:
        inputs = processor(images=[images], text=["<image>" * len(images) + text])
        inputs.pop("labels", None)
        return inputs.convert_to_tensors("pt")
    inputs = processor.tokenizer(f"<bos>{text}\n", add_special_tokens=False, return_tensors="pt")
    return {**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])}


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
        return greedy_answer(self.model, self.processor, messages)


def greedy_answer(
    model: Any, processor: Any, messages: list[dict[str, Any]]
) -> tuple[list[int], list[int], torch.Tensor]:
    """See Reference.answer."""
    inputs = apply_template(processor, messages)
    result = model.generate(
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


def check_equal(
    output: Any, expected: tuple[list[int], list[int], torch.Tensor], atol: float = 1e-4
) -> None:
    prompt, token_ids, logprobs = expected
    assert output.prompt_token_ids == prompt
    assert output.outputs[0].token_ids == token_ids
    torch.testing.assert_close(logprob_matrix(output.outputs[0]), logprobs, atol=atol, rtol=0)


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


def check_processor(folder: Path, model_impl: str = "auto") -> None:
    """Prompt ids and pixel values equal those of the model's own processor."""
    inputs = InputProcessor(find_checkpoint(str(folder)), get_registry(), model_impl=model_impl)
    processor = AutoProcessor.from_pretrained(folder)
    facts = EngineFacts(10**6, 10**6, 1, 16, [], 0, "float32", "")
    reader = PictureReader(EngineConfig(model=str(folder)), None)
    for data in encoded_pictures():
        # transformers turns pictures upright when it loads them, not when it processes them.
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if upright.mode.startswith("I"):
            # Of 16 bits it would keep the lowest numbers and make all others white.
            upright = Image.fromarray((np.asarray(upright) // 257).astype(np.uint8))
        messages = conversation("What is this?", [upright])
        url = f"data:image/x;base64,{base64.b64encode(data).decode()}"
        part = {"type": "image_url", "image_url": {"url": url}}
        ours = [{"role": "user", "content": [part, messages[0]["content"][1]]}]
        rendered, parts = read_messages(ours)
        token_ids = inputs.encode_chat(rendered)
        images = reader.read(parts, inputs)
        request = reader.load(inputs.build("r", token_ids, images, SamplingParams(), facts))
        expected = apply_template(processor, messages)
        assert request.prompt_token_ids == expected["input_ids"][0].tolist()
        pixels = request.media[0].payload.pixels.array
        np.testing.assert_allclose(
            pixels.reshape(-1), expected["pixel_values"].numpy().reshape(-1), atol=2e-6
        )


def encoded_pictures() -> Iterator[bytes]:
    """Each format and mode that may be uploaded, in sizes that differ in aspect."""
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 256, (90, 131, 4), dtype=np.uint8)
    source = Image.fromarray(noise, "RGBA")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    for picture, name, options in (
        (source.convert("RGB"), "JPEG", {}),
        (source.convert("RGB").resize((40, 77)), "JPEG", {"exif": rotated}),
        (source.convert("CMYK"), "JPEG", {}),
        (source.convert("L"), "JPEG", {}),
        (source.resize((200, 60)), "PNG", {}),
        (source.convert("RGB").convert("P"), "PNG", {}),
        (source.convert("RGBA").quantize(), "PNG", {}),
        (source.convert("LA"), "PNG", {}),
        (deep, "PNG", {}),
        (source, "WEBP", {"lossless": True}),
        (source.convert("RGB"), "WEBP", {}),
    ):
        buffer = io.BytesIO()
        picture.save(buffer, name, **options)
        yield buffer.getvalue()


def check_parity(folder: Path, pictures: list[Image.Image], chunk: int, **settings: Any) -> None:
    """Alone and then again from the prefix cache, in one batch without one, and in chunks of so
    few tokens that prompts are cut and requests join late. settings: of the engine."""
    reference = Reference(folder)
    prompts = conversations(reference.multimodal, pictures)
    expected = [reference.answer(prompt) for prompt in prompts]

    def load(**more: Any) -> LLM:
        return LLM(folder, dtype="float32", kv_cache_memory=32 * 2**20, **settings, **more)

    alone = load()
    for _ in range(2):
        for prompt, answer in zip(prompts, expected, strict=True):
            check_equal(alone.chat(prompt, GREEDY)[0], answer)
    assert alone.stats().prefix_cache_hits

    for llm in (load(enable_prefix_caching=False), load(max_num_batched_tokens=chunk)):
        for output, answer in zip(llm.chat(prompts, GREEDY), expected, strict=True):
            check_equal(output, answer)
        assert llm.num_free_blocks == llm._core.facts.num_blocks
        llm._core.check_integrity()
