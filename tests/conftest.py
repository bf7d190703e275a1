"""Small checkpoints with random weights, made from transformers configs, and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from octavo import LLM
from octavo.app import DEMO_MODEL
from openai import OpenAI
from PIL import Image
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def text_config(**overrides: object) -> LlamaConfig:
    settings: dict[str, object] = {
        "vocab_size": 2048,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        # Large enough that greedy choices differ from token to token.
        "initializer_range": 0.2,
    }
    return LlamaConfig(**{**settings, **overrides})


def save_llama(folder: Path, **overrides: object) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(text_config(**overrides)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)
    return folder


def save_llava(folder: Path, kind: str) -> Path:
    """kind "clip": class token dropped, last layer but one; "siglip": all features, last layer."""
    torch.manual_seed(1)
    clip = kind == "clip"
    vision = CLIPVisionConfig(**VISION) if clip else SiglipVisionConfig(**VISION)
    strategy = "default" if clip else "full"
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(),
        image_token_index=3,
        vision_feature_layer=-2 if clip else -1,
        vision_feature_select_strategy=strategy,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    demo = AutoProcessor.from_pretrained(DEMO_MODEL)
    square = {"height": 32, "width": 32}
    images = (
        CLIPImageProcessor(size={"shortest_edge": 36}, crop_size=square)
        if clip
        else SiglipImageProcessor(size=square)
    )
    LlavaProcessor(
        image_processor=images,
        tokenizer=demo.tokenizer,
        patch_size=8,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=int(clip),
        chat_template=demo.chat_template,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "llama": save_llama(root / "llama"),
        "llama-tied": save_llama(
            root / "llama-tied", tie_word_embeddings=True, attention_bias=True, mlp_bias=True
        ),
        "llava-clip": save_llava(root / "llava-clip", "clip"),
        "llava-siglip": save_llava(root / "llava-siglip", "siglip"),
        "demo": Path(DEMO_MODEL),
    }


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Pictures of different sizes and contents."""
    generator = np.random.default_rng(0)
    sizes = [(40, 60), (100, 48), (64, 64)]
    return [
        Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes
    ]


@pytest.fixture(scope="session")
def concepts() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads(Path(DEMO_MODEL, "concepts.json").read_text())
    return table


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    """The openai SDK, talking to the module's server."""
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai:
        yield openai


@pytest.fixture(scope="session")
def offline() -> LLM:
    """The demo model in this process, to hold a server's answers against."""
    return LLM(dtype="float32", kv_cache_memory=64 * 2**20)
