"""A checkpoint of SmolLM2-135M's shape with random weights: larger than most processors' caches, so
that decoding reads its weights from memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from .wordy_checkpoint import VOCAB_SIZE, wordy_tokenizer

_library: Any = transformers


def save_smollm2(folder: Path, num_layers: int = 30) -> None:
    """Write it in bfloat16, 270 MB with all layers."""
    torch.manual_seed(0)
    config = _library.LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=num_layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    _library.LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    _library.PreTrainedTokenizerFast(tokenizer_object=wordy_tokenizer()).save_pretrained(folder)
