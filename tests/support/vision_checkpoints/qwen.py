"""Qwen2-VL and Qwen2.5-VL."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from octavo.app import DEMO_MODEL
from text_checkpoints import SIZES, randomise_norms
from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
PARTS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
_VISION = {"depth": 3, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2}
_GENERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2-vl": ("Qwen2VL", {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}),
    "qwen2.5-vl": (
        "Qwen2_5_VL",
        {
            "hidden_size": 32,
            "out_hidden_size": 64,
            "intermediate_size": 48,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
    ),
}


PIXELS = (16 * 16, 64 * 48)
ROPE = {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [2, 3, 3]}


def qwen_tokenizer() -> Any:
    """The demo model's, with Qwen's special tokens."""
    tokenizer = AutoTokenizer.from_pretrained(
        DEMO_MODEL,
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [*PARTS.values(), "<|im_start|>", "<|im_end|>"]}
    )
    return tokenizer


def save_with_processor(
    folder: Path,
    family: str,
    settings: dict[str, Any],
    tokenizer: Any,
    videos: Any,
    pixels: tuple[int, int] = PIXELS,
) -> Path:
    """A model of random weights by its config's settings, and all that prepares its input. pixels:
    the fewest and the most of a picture."""
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in PARTS.items()}
    config = getattr(transformers, f"{family}Config")(**settings, **ids)
    model = getattr(transformers, f"{family}ForConditionalGeneration")(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    images = Qwen2VLImageProcessor(
        patch_size=4,
        merge_size=2,
        size=dict(zip(("shortest_edge", "longest_edge"), pixels, strict=True)),
    )
    processor = getattr(transformers, f"{family.removesuffix('Moe')}Processor")
    processor(images, tokenizer, videos, chat_template=CHAT).save_pretrained(folder)
    return folder


def save_qwen(folder: Path, generation: str, pixels: tuple[int, int] = PIXELS, **more: Any) -> Path:
    """pixels: see `save_with_processor`. more: of the tower's config."""
    torch.manual_seed(4)
    family, vision = _GENERATIONS[generation]
    settings = {
        "vision_config": {**_VISION, **vision, **more},
        "text_config": {**SIZES, "vocab_size": 2100, "rope_parameters": ROPE},
    }
    videos = Qwen2VLVideoProcessor(patch_size=4)
    return save_with_processor(folder, family, settings, qwen_tokenizer(), videos, pixels)


MODELS = {name: (partial(save_qwen, generation=name), 23) for name in _GENERATIONS}
