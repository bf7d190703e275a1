"""Idefics3, SmolVLM and InternVL."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from octavo.app import DEMO_MODEL
from text_checkpoints import SIZES, randomise_norms
from transformers import (
    AutoTokenizer,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    SmolVLMVideoProcessor,
)

from .llava import VISION


def chat_template(image: str) -> str:
    return (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
        f"{{% if p.type == 'image' %}}{image}"
        "{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}\n{% endfor %}assistant:"
    )


def save_idefics3(folder: Path, family: str, **images: Any) -> Path:
    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    places = [f"<row_{i}_col_{j}>" for i in range(1, 5) for j in range(1, 5)]
    special = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    tokenizer.add_special_tokens({"extra_special_tokens": [*special, *places]})
    config = getattr(transformers, f"{family}Config")(
        vision_config=VISION,
        text_config=LlamaConfig(**{**SIZES, "vocab_size": 2100}),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    model = getattr(transformers, f"{family}ForConditionalGeneration")(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    settings = {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 32}, **images}
    processor = getattr(transformers, f"{family}ImageProcessor")(**settings)
    video = [SmolVLMVideoProcessor()] if family == "SmolVLM" else []
    side = settings["max_image_size"]["longest_edge"] // 8 // 2
    getattr(transformers, f"{family}Processor")(
        processor,
        tokenizer,
        *video,
        image_seq_len=side**2,
        chat_template=chat_template("<image>"),
    ).save_pretrained(folder)
    return folder


def save_internvl(folder: Path, text_config: type[PreTrainedConfig], **vision: Any) -> Path:
    torch.manual_seed(8)
    tokenizer = AutoTokenizer.from_pretrained(
        DEMO_MODEL,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    config = InternVLConfig(
        vision_config={**VISION, **vision},
        text_config=text_config(**{**SIZES, "vocab_size": 2100}),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    model = InternVLForConditionalGeneration(config)
    randomise_norms(model)
    embeddings = model.model.vision_tower.embeddings
    torch.nn.init.normal_(embeddings.cls_token)
    torch.nn.init.normal_(embeddings.position_embeddings)
    model.save_pretrained(folder)
    InternVLProcessor(
        GotOcr2ImageProcessor(size={"height": 32, "width": 32}, max_patches=6),
        tokenizer,
        InternVLVideoProcessor(),
        image_seq_length=4,
        chat_template=chat_template("<IMG_CONTEXT>"),
    ).save_pretrained(folder)
    return folder


MODELS = {
    "idefics3": (partial(save_idefics3, family="Idefics3"), 23),
    "idefics3-whole": (
        partial(
            save_idefics3,
            family="Idefics3",
            do_image_splitting=False,
            max_image_size={"longest_edge": 48},
        ),
        23,
    ),
    "smolvlm": (partial(save_idefics3, family="SmolVLM", size={"longest_edge": 128}), 23),
    "internvl-qwen2": (partial(save_internvl, text_config=Qwen2Config), 23),
    "internvl-qwen3": (
        partial(
            save_internvl,
            text_config=Qwen3Config,
            norm_type="rms_norm",
            use_qk_norm=True,
            use_mean_pooling=False,
        ),
        23,
    ),
    "internvl-llama": (partial(save_internvl, text_config=LlamaConfig, attention_bias=True), 23),
}
