"""LLaVA 1.5 with the towers and language models that it may have."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from octavo.app import DEMO_MODEL
from text_checkpoints import SIZES, randomise_norms
from transformers import (
    AutoProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    Qwen2Config,
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


def save_llava(folder: Path, tower: str, text_config: type[PreTrainedConfig] = LlamaConfig) -> Path:
    """tower "clip": class token dropped, last layer but one; "siglip": all features, last layer."""
    torch.manual_seed(1)
    clip = tower == "clip"
    vision = CLIPVisionConfig(**VISION) if clip else SiglipVisionConfig(**VISION)
    strategy = "default" if clip else "full"
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(**SIZES),
        image_token_index=3,
        vision_feature_layer=-2 if clip else -1,
        vision_feature_select_strategy=strategy,
    )
    model = LlavaForConditionalGeneration(config)
    randomise_norms(model)
    model.save_pretrained(folder)
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


MODELS = {
    "llava-clip": (partial(save_llava, tower="clip"), 23),
    "llava-siglip-qwen2": (partial(save_llava, tower="siglip", text_config=Qwen2Config), 23),
}
