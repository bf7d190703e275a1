"""Tiny language models with random weights, one for each architecture and variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from octavo.app import DEMO_MODEL
from transformers import AutoTokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    # Large enough that greedy choices differ from token to token.
    "initializer_range": 0.2,
}

_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
#: Family in transformers, and what its config says besides the sizes.
TEXT_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-biased": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
    "llama-llama3": ("Llama", {"rope_parameters": _LLAMA3, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {"sliding_window": 9}),
    "qwen2": ("Qwen2", {"rope_parameters": _YARN}),
    "qwen2-windows": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 11, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 24}),
    "gemma": ("Gemma", {"num_key_value_heads": 1}),
    "gemma2": (
        "Gemma2",
        {
            "sliding_window": 8,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma3": ("Gemma3", {"sliding_window": 8, "sliding_window_pattern": 2}),
    "phi3": ("Phi3", {}),
    "phi3-partial": ("Phi3", {"partial_rotary_factor": 0.5, "sliding_window": 13}),
}
#: The same, for architectures that no plugin serves.
OTHER_TEXT_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "olmo2": ("Olmo2", {}),
    "olmo3-windows": ("Olmo3", {"sliding_window": 8}),
    "stablelm": ("StableLm", {}),
    "starcoder2": ("Starcoder2", {"sliding_window": 7}),
    # Logits, embeddings and residuals are scaled.
    "granite": (
        "Granite",
        {"logits_scaling": 3.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    ),
    # Learned positions.
    "opt": ("OPT", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    # Keys are wider than values.
    "deepseek-v3": (
        "DeepseekV3",
        {
            "num_key_value_heads": 4,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "head_dim": 8,
            "v_head_dim": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
        },
    ),
}


def save_text_model(folder: Path, name: str) -> Path:
    """Write the named model with the demo model's tokenizer and chat template."""
    return save_family(folder, *{**TEXT_MODELS, **OTHER_TEXT_MODELS}[name])


def save_family(folder: Path, family: str, settings: dict[str, Any]) -> Path:
    """Write a model of a family in transformers."""
    suffix = "TextConfig" if family in ("Gemma3", "Gemma4", "Llama4") else "Config"
    config = getattr(transformers, family + suffix)(**{**SIZES, **settings})
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)
    return folder


def randomise_norms(model: torch.nn.Module) -> None:
    """Norms and biases begin as ones and zeros, which would hide that one is left out."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += torch.randn_like(parameter) * 0.2
