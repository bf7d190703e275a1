"""Tiny GGUF files, with the names, keys and changed weights that llama.cpp's converter writes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import (
    GGMLQuantizationType,
    GGUFValueType,
    GGUFWriter,
    RopeScalingType,
    TokenType,
    quantize,
)
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

#: llama.cpp's names, where they are not transformers'.
_ARCHITECTURES = {"qwen2_vl": "qwen2vl", "qwen2_5_vl": "qwen2vl"}
#: What language models' names begin with in models that take images.
_IN_WHOLE = re.compile(r"^model\.(language_model|text_model)\.")
_PLAIN = GGMLQuantizationType.F32
_GEMMA_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_LAYER_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
#: Beginnings of keys that no architecture's name comes before.
_SHARED = ("general.", "note.", "split.", "tokenizer.")
_OUTER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def write_gguf(
    path: Path,
    folder: Path,
    keys: dict[str, Any] | None = None,
    tensors: dict[str, Any] | None = None,
    pre: str = "gpt-2",
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    tables: GGMLQuantizationType = GGMLQuantizationType.F32,
    chat_template: str | None = None,
    renamed: dict[str, str] | None = None,
    sections: Any = ...,
) -> Path:
    """The folder's model as a file, or its language model if it takes images. keys: further ones,
    those of the architecture without its name. tensors: further ones. pre: how texts are split, by
    llama.cpp's name. kind: of the layers' matrices. tables: of the embeddings and the head.
    chat_template: in place of the folder's. renamed: tokens that the file calls otherwise.
    sections: of positions, in place of the folder's; None for none."""
    config, weights = _language_model(folder)
    family = config.model_type.removesuffix("_text")
    architecture = _ARCHITECTURES.get(family, family)
    writer = GGUFWriter(path, architecture)
    _write_sizes(writer, config)
    _write_sections(writer, config, sections)
    tokens = _tokens(folder, config.vocab_size, renamed or {})
    _write_tokenizer(writer, folder, tokens, pre, chat_template)
    for key, value in (keys or {}).items():
        name = key if key.startswith(_SHARED) else f"{architecture}.{key}"
        writer.add_key_value(name, value, GGUFValueType.get_type(value))
    for name, weight in weights.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        own = tables if is_table(name) else kind if is_quantised(name, weight) else _PLAIN
        values = _converted(name, weight, config)
        stored = values if own is _PLAIN else quantize(values, own)
        raw = None if own is _PLAIN else own
        writer.add_tensor(_tensor_name(name, architecture), stored, raw_dtype=raw)
    for name, values in (_factors(config) | (tensors or {})).items():
        writer.add_tensor(name, np.array(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def is_table(name: str) -> bool:
    """Whether `tables` is for a weight of transformers' model."""
    return name.removesuffix(".weight") in ("model.embed_tokens", "lm_head")


def is_quantised(name: str, weight: torch.Tensor) -> bool:
    """Whether `kind` is for a weight of transformers' model."""
    return ".layers." in name and weight.dim() == 2


def _language_model(folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """Its config, and its weights by the names that they have where it is the whole model."""
    config = AutoConfig.from_pretrained(folder)
    if not hasattr(config, "vision_config"):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return model.config, model.state_dict()
    whole = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    parts = ((name, _IN_WHOLE.sub("model.", name)) for name in whole.state_dict())
    names = {name: new for name, new in parts if new != name or name.startswith("lm_head.")}
    text = whole.config.text_config
    text.tie_word_embeddings = whole.config.tie_word_embeddings
    return text, {names[name]: w for name, w in whole.state_dict().items() if name in names}


def _write_sizes(writer: GGUFWriter, config: Any) -> None:
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(0)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if config.model_type == "phi3":
        writer.add_rope_dimension_count(int(head_dim * rope["partial_rotary_factor"]))
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        writer.add_sliding_window(config.sliding_window or 0)
    else:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if config.model_type == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(head_dim)
    if config.model_type.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":
        original = config.original_max_position_embeddings
        longer = config.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(longer) / math.log(original)))


def _write_sections(writer: GGUFWriter, config: Any, sections: Any) -> None:
    given = config.rope_parameters.get("mrope_section")
    stored = sections if sections is not ... else given and [*given, 0]
    if stored is not None:
        writer.add_rope_dimension_sections(stored)


def _tokens(folder: Path, size: int, renamed: dict[str, str]) -> list[str]:
    by_id = {i: token for token, i in AutoTokenizer.from_pretrained(folder).get_vocab().items()}
    names = (by_id.get(number, f"[PAD{number}]") for number in range(size))
    return [renamed.get(name, name) for name in names]


def _write_tokenizer(
    writer: GGUFWriter, folder: Path, tokens: list[str], pre: str, chat_template: str | None
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    stored = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"] for token in stored["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens]
    )
    merges = stored["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(2)
    writer.add_chat_template(chat_template or tokenizer.chat_template)


def _tensor_name(name: str, architecture: str) -> str:
    stem, _, suffix = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{suffix}"
    _, _, layer, part = stem.split(".", 3)
    parts = {**_LAYER_PARTS, **(_GEMMA_NORMS if architecture.startswith("gemma") else {})}
    return f"blk.{layer}.{parts[part]}.{suffix}"


def _converted(name: str, weight: torch.Tensor, config: Any) -> Any:
    """As the converter stores it: Llama's queries and keys rotate neighbours instead of halves,
    and Gemma's norms scale by the weight alone."""
    values = weight.float().numpy()
    if config.model_type == "llama" and (".q_proj." in name or ".k_proj." in name):
        heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
        halves = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
        values = halves.swapaxes(1, 2).reshape(values.shape)
    if config.model_type.startswith("gemma") and name.endswith("norm.weight"):
        values = values + 1
    return np.ascontiguousarray(values)


def _factors(config: Any) -> dict[str, Any]:
    """The tensors that stand for Llama 3.1's scaling (the published formula) and LongRoPE's."""
    rope = config.rope_parameters
    if rope.get("rope_type") == "longrope":
        return {
            "rope_factors_long.weight": rope["long_factor"],
            "rope_factors_short.weight": rope["short_factor"],
        }
    if rope.get("rope_type") != "llama3":
        return {}
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    trained = rope["original_max_position_embeddings"]
    factors = []
    for index in range(0, config.head_dim, 2):
        length = 2 * math.pi * rope["rope_theta"] ** (index / config.head_dim)
        kept = min(max((trained / length - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - kept) / factor + kept))
    return {"rope_freqs.weight": factors}
