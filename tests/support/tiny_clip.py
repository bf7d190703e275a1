"""A small CLIP with random weights, which gives embeddings."""

from __future__ import annotations

from pathlib import Path

import torch
from octavo.app import DEMO_MODEL
from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel

_LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def save_clip(folder: Path) -> Path:
    """Write it with the demo model's tokenizer."""
    torch.manual_seed(0)
    text = {**_LAYERS, "vocab_size": 2048}
    vision = {**_LAYERS, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)
    sides = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessor(**sides).save_pretrained(folder)
    return folder
