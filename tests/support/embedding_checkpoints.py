"""Parts of small checkpoints that give embeddings, and texts to try them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from octavo.app import DEMO_MODEL
from transformers import AutoTokenizer, BaseImageProcessor, ProcessorMixin

TEXTS = ["a dog", "two cats on a roof", ""]


TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 2100,
    "max_position_embeddings": 12,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def save_processor(images: BaseImageProcessor, family: type[ProcessorMixin], at: Path) -> Any:
    """A processor with the demo model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    family(images, tokenizer).save_pretrained(at)
    return tokenizer
