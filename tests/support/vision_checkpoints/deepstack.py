"""Models whose pictures reach later layers of the decoder too, or may: Qwen3-VL, dense and with
experts, Granite 4 Vision and Granite Docling."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from octavo.app import DEMO_MODEL
from text_checkpoints import SIZES, randomise_norms
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    Granite4VisionProcessor,
    GraniteDoclingConfig,
    GraniteDoclingForConditionalGeneration,
    GraniteDoclingImageProcessor,
    GraniteDoclingProcessor,
    LlavaNextImageProcessor,
    Qwen3VLVideoProcessor,
)

from .qwen import ROPE, qwen_tokenizer, save_with_processor
from .tiles import chat_template

_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
}


def save_qwen3_vl(folder: Path, experts: bool = False, deepstack: tuple[int, ...] = (0,)) -> Path:
    torch.manual_seed(4)
    vision = {
        "depth": 2,
        "num_heads": 2,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": 64,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": list(deepstack),
    }
    text = {**SIZES, **(_EXPERTS if experts else {}), "vocab_size": 2100, "rope_parameters": ROPE}
    family = "Qwen3VLMoe" if experts else "Qwen3VL"
    settings = {"vision_config": vision, "text_config": text}
    videos = Qwen3VLVideoProcessor(patch_size=4)
    return save_with_processor(folder, family, settings, qwen_tokenizer(), videos)


def save_granite4_vision(folder: Path) -> Path:
    torch.manual_seed(5)
    vision = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 4,
    }
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    config = Granite4VisionConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config={**SIZES, "model_type": "granite4_vision_text"},
        image_token_index=3,
        image_grid_pinpoints=pinpoints,
        downsample_rate="1/2",
        deepstack_layer_map=[[1, 0], [2, 1]],
        spatial_target_layers=[0, 1],
        qformer_config={"model_type": "blip_2_qformer", "intermediate_size": 64},
    )
    _save(Granite4VisionForConditionalGeneration(config), folder)
    Granite4VisionProcessor(
        LlavaNextImageProcessor(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=pinpoints,
        ),
        AutoTokenizer.from_pretrained(DEMO_MODEL),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        downsample_rate="1/2",
        chat_template=chat_template("<image>"),
    ).save_pretrained(folder)
    return folder


def save_granite_docling(folder: Path, **vision: Any) -> Path:
    torch.manual_seed(6)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    places = [f"<row_{i}_col_{j}>" for i in range(1, 5) for j in range(1, 5)]
    special = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    tokenizer.add_special_tokens({"extra_special_tokens": [*special, *places]})
    config = GraniteDoclingConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 4,
            "out_hidden_size": 64,
            "use_fine_route": False,
            "deepstack_visual_indexes": [0, 1],
            **vision,
        },
        text_config={**SIZES, "vocab_size": 2100, "attention_multiplier": 0.25},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(GraniteDoclingForConditionalGeneration(config), folder)
    GraniteDoclingProcessor(
        GraniteDoclingImageProcessor(size={"height": 32, "width": 32}, max_patches=4),
        tokenizer,
        image_seq_len=4,
        chat_template=chat_template("<image>"),
    ).save_pretrained(folder)
    return folder


def _save(model: Any, folder: Path) -> None:
    randomise_norms(model)
    model.save_pretrained(folder)


#: How to write each, and the part of it that isn't served.
REFUSED = {
    "qwen3-vl": (save_qwen3_vl, "deepstack_features"),
    "qwen3-vl-moe": (partial(save_qwen3_vl, experts=True), "deepstack_features"),
    "granite4-vision": (save_granite4_vision, "deepstack_features"),
    "granite-docling": (save_granite_docling, "deepstack_features"),
}
