"""LLaVA-NeXT and LLaVA-OneVision."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from octavo.app import DEMO_MODEL
from text_checkpoints import SIZES, randomise_norms
from transformers import (
    AutoProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

from .llava import VISION

PINPOINTS = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
MANY = [[32 * rows, 32 * columns] for rows in range(1, 4) for columns in range(1, 4)]


def save_next(folder: Path, text_config: type[PreTrainedConfig]) -> Path:
    torch.manual_seed(5)
    demo = AutoProcessor.from_pretrained(DEMO_MODEL)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=text_config(**SIZES),
        image_token_index=3,
        image_grid_pinpoints=PINPOINTS,
    )
    model = LlavaNextForConditionalGeneration(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    LlavaNextProcessor(
        LlavaNextImageProcessor(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=PINPOINTS,
        ),
        demo.tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=demo.chat_template,
    ).save_pretrained(folder)
    return folder


def save_onevision(folder: Path) -> Path:
    torch.manual_seed(6)
    demo = AutoProcessor.from_pretrained(DEMO_MODEL)
    demo.tokenizer.add_special_tokens({"extra_special_tokens": ["<video>"]})
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=Qwen2Config(**{**SIZES, "vocab_size": 2100}),
        image_token_index=3,
        video_token_index=demo.tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=MANY,
        vision_aspect_ratio="anyres_max_3",
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size={"height": 32, "width": 32}, image_grid_pinpoints=MANY),
        demo.tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_3",
        chat_template=demo.chat_template,
    ).save_pretrained(folder)
    return folder


MODELS = {
    "llava-next-mistral": (partial(save_next, text_config=MistralConfig), 23),
    "llava-next-llama": (partial(save_next, text_config=LlamaConfig), 64),
    "llava-onevision": (save_onevision, 23),
}
