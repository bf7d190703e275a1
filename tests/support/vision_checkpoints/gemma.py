"""PaliGemma on both of its decoders, and Gemma 3."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from octavo.app import DEMO_MODEL
from text_checkpoints import SIZES, randomise_norms
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedConfig,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

from .llava import VISION

#: What a chat with Gemma 3 looks like.
_CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}<start_of_image>{% else %}{{ p.text }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)


def make_tokenizer(**special: str) -> Any:
    """The demo model's, with Gemma's special tokens."""
    tokenizer = AutoTokenizer.from_pretrained(
        DEMO_MODEL, bos_token="<bos>", extra_special_tokens=special
    )
    tokenizer.chat_template = None
    return tokenizer


def save_paligemma(folder: Path, text_config: type[PreTrainedConfig], **settings: Any) -> Path:
    torch.manual_seed(2)
    tokenizer = make_tokenizer(image_token="<image>")
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, tokenizer)
    sizes = {**SIZES, "vocab_size": 2048 + 1200, **settings}
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**VISION),
        text_config=text_config(**sizes),
        image_token_index=processor.image_token_id,
        hidden_size=64,
        projection_dim=64,
    )
    model = PaliGemmaForConditionalGeneration(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_gemma3(folder: Path, **text: Any) -> Path:
    torch.manual_seed(3)
    tokenizer = make_tokenizer(
        boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>"
    )
    images = Gemma3ImageProcessor(size={"height": 32, "width": 32})
    windows = {"sliding_window": 7, "sliding_window_pattern": 2}
    sizes = {**SIZES, "vocab_size": 2100, **windows, **text}
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**VISION),
        text_config=Gemma3TextConfig(**sizes),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )
    model = Gemma3ForConditionalGeneration(config)
    randomise_norms(model)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    model.save_pretrained(folder)
    Gemma3Processor(images, tokenizer, chat_template=_CHAT, image_seq_length=4).save_pretrained(
        folder
    )
    return folder


MODELS = {
    "paligemma": (partial(save_paligemma, text_config=GemmaConfig), 160),
    "paligemma2": (partial(save_paligemma, text_config=Gemma2Config, sliding_window=8), 160),
    "gemma3": (save_gemma3, 13),
}
