"""Config in the form of `config.json`, from the metadata of a GGUF file.

transformers has names for some keys and passes over the rest. Here the rest is filled in, as
llama.cpp reads it, and whatever is used by neither refuses the file: an answer computed without it
would be wrong without a sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import modeling_gguf_pytorch_utils
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ...contracts.specs import JsonDict
from ...protocol.config import ConfigError
from ..hf_config import complete_config
from .gguf_kinds import brief
from .gguf_metadata import GgufMetadata
from .gguf_rope import rope_parameters

# Not typed.
_gguf: Any = modeling_gguf_pytorch_utils
#: Config field of each key in transformers, by architecture; None: it ignores the key.
_READ: dict[str, dict[str, str | None]] = _gguf.GGUF_TO_TRANSFORMERS_MAPPING["config"]
#: Architectures that are served.
_ARCHITECTURES = frozenset(
    [
        *("bloom", "falcon", "gemma2", "gemma3", "gpt2", "llama", "nemotron", "phi3", "qwen2"),
        *("qwen3", "stablelm", "starcoder2"),
    ]
)
#: Architectures that answer texts as another does.
_ALIKE = {"qwen2vl": "qwen2"}
#: Keys that say how pictures are seen, and nothing of texts.
_OF_PICTURES = {"qwen2vl": ("rope.dimension_sections",)}
#: Architectures whose head is the embedding, of which files hold a copy.
_ALWAYS_TIED = ("bloom", "falcon")

#: Layers of Gemma's largest models, which divide by the root of hidden_size / heads instead of
#: head_dim; their files don't say so, and llama.cpp knows them by their number of layers, too.
_GEMMA_27B_LAYERS = {"gemma2": 46, "gemma3_text": 62}

#: Value of a key in terms of the completed config. A file with another value is refused.
_STATED: dict[str, Callable[[JsonDict], Any]] = {
    "attention.key_length": lambda config: _head_dim(config),
    "attention.value_length": lambda config: _head_dim(config),
    "attention.sliding_window": lambda config: config.get("sliding_window") or 0,
    "attention.sliding_window_pattern": lambda config: _layer_pattern(config),
    "attention.scale": lambda config: _attention_scale(config),
    "attn_logit_softcapping": lambda config: config.get("attn_logit_softcapping") or 0,
    "final_logit_softcapping": lambda config: config.get("final_logit_softcapping") or 0,
    "rope.dimension_count": lambda config: _rotary_dim(config),
    "rope.freq_base": lambda config: _rope(config, "full_attention").get("rope_theta"),
    "rope.freq_base_swa": lambda config: _rope(config, "sliding_attention").get("rope_theta"),
    "vocab_size": lambda config: config.get("vocab_size"),
    "use_parallel_residual": lambda config: config.get("use_parallel_residual"),
}

#: Values at which a key changes nothing, whatever the architecture.
_HARMLESS: dict[str, Callable[[Any], bool]] = {
    "attention.causal": lambda value: value is True,
    "attention.clamp_kqv": lambda value: value == 0,
    "attention.max_alibi_bias": lambda value: value == 0,
    "embedding_scale": lambda value: value == 1,
    "expert_count": lambda value: value == 0,
    "expert_shared_count": lambda value: value == 0,
    "expert_used_count": lambda value: value == 0,
    "expert_weights_scale": lambda value: value in (0, 1),
    "leading_dense_block_count": lambda value: value == 0,
    "logit_scale": lambda value: value == 1,
    "nextn_predict_layers": lambda value: value == 0,
    "pooling_type": lambda value: value == 0,
    "residual_scale": lambda value: value == 1,
    "rope.dimension_sections": lambda value: not any(value),
    # Layout of the original weights, for the converter.
    "tensor_data_layout": lambda value: True,
}


def check_architecture(architecture: str) -> None:
    """Raises ConfigError for one that is not served."""
    if architecture == "clip":
        raise ConfigError(
            "the GGUF file is a vision projector, which is no model by itself; give the language "
            "model's file, and this one by --mmproj"
        )
    if _as_known(architecture) not in _ARCHITECTURES & _READ.keys():
        raise ConfigError(
            f"GGUF files of the architecture {architecture!r} are not served; serve the "
            "model's folder in Hugging Face format instead"
        )


def _as_known(architecture: str) -> str:
    """The same, or the one that answers texts alike."""
    return _ALIKE.get(architecture, architecture)


def gguf_config(metadata: GgufMetadata) -> JsonDict:
    """The completed config. metadata: of an architecture and a tokenizer that are served.

    Raises ConfigError that names the key for a file that can't be followed.
    """
    known = _known(metadata)
    config = complete_config({**known, **_unread(complete_config(known), metadata)})
    for key, value in metadata.fields.items():
        _check(key, value, config, metadata)
    return config


def _known(metadata: GgufMetadata) -> JsonDict:
    """Fields of the config that transformers has keys for."""
    architecture = model_type = _as_known(metadata.architecture)
    if architecture == "gemma3":
        model_type = "gemma3_text"
    if architecture == "llama" and metadata.others.get("general.name") == "mistral":
        model_type = "mistral"
    config: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]],
        "vocab_size": len(metadata.others["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": architecture in _ALWAYS_TIED
        or not metadata.has_tensor(r"output\.weight"),
    }
    if architecture == "stablelm":
        config["use_qkv_bias"] = metadata.has_tensor(r".*attn_[qkv]\.bias")
        config["use_parallel_residual"] = not metadata.has_tensor(r".*ffn_norm.*")
    for key, name in _READ["tokenizer"].items():
        # Absent ones are none: else transformers takes those of another model.
        config[str(name)] = metadata.others.get(f"tokenizer.{key}")
    for key, name in _READ[architecture].items():
        if name is not None and key in metadata.fields:
            config[name] = metadata.fields[key]
    _check_sizes(metadata)
    # Positions are those of `_unread`, which are complete.
    config.pop("rope_theta", None)
    return config


def _check_sizes(metadata: GgufMetadata) -> None:
    """Raises ConfigError for layers that there are no tensors of, before a model is made of
    them, and for heads of no width."""
    architecture, fields = metadata.architecture, metadata.fields
    found = {name.split(".")[1] for name in metadata.tensor_names if name.startswith("blk.")}
    blocks = fields.get("block_count")
    if blocks != len(found):
        raise ConfigError(
            f"the GGUF file's {architecture}.block_count = {blocks}, but its tensors are of "
            f"{len(found)} blocks"
        )
    heads, width = fields.get("attention.head_count", 1), fields.get("embedding_length")
    if width is None or heads > width:
        raise ConfigError(
            f"the GGUF file's {architecture}.attention.head_count = {heads}, but its "
            f"{architecture}.embedding_length = {width}"
        )


def _unread(config: JsonDict, metadata: GgufMetadata) -> JsonDict:
    """Fields of the config that the file gives and transformers leaves to defaults."""
    fields = metadata.fields
    found: dict[str, Any] = {}
    if "head_dim" in config or "attention.key_length" in fields:
        sizes = config["hidden_size"] // config["num_attention_heads"]
        found["head_dim"] = fields.get("attention.key_length") or sizes
    if "attention_bias" in config:
        found["attention_bias"] = metadata.has_tensor(r"blk\.\d+\.attn_(q|qkv)\.bias")
    if "mlp_bias" in config:
        found["mlp_bias"] = metadata.has_tensor(r"blk\.\d+\.ffn_gate\.bias")
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if name in config and name in fields:
            found[name] = fields[name]
    window = fields.get("attention.sliding_window")
    # Files without a window: Gemma's families take their own; Mistral's default is ignored.
    if "sliding_window" in config and (window is not None or "gemma" not in config["model_type"]):
        found["sliding_window"] = window or None
    if "layer_types" in config and "attention.sliding_window_pattern" in fields:
        pattern = fields["attention.sliding_window_pattern"]
        found["layer_types"] = [
            "sliding_attention" if windowed else "full_attention"
            for windowed in _windowed(pattern, config["num_hidden_layers"])
        ]
    if "query_pre_attn_scalar" in config:
        found["query_pre_attn_scalar"] = _score_divisor({**config, **found}, fields)
    if "rope_parameters" in config:
        found.update(rope_parameters({**config, **found}, metadata))
    return found


def _score_divisor(config: JsonDict, fields: JsonDict) -> int:
    """Square of the divisor of attention scores."""
    if "attention.scale" in fields:
        scale: float = fields["attention.scale"]
        return round(1 / (scale * scale))
    if config["num_hidden_layers"] == _GEMMA_27B_LAYERS.get(config["model_type"]):
        return int(config["hidden_size"] // config["num_attention_heads"])
    return int(config["head_dim"])


def _windowed(pattern: int | Sequence[bool], num_layers: int) -> list[bool]:
    """For each layer whether it has a window. pattern: this, or a period, of which the last layer
    sees everything; 0 for none that does."""
    if isinstance(pattern, int):
        return [pattern == 0 or (layer + 1) % pattern != 0 for layer in range(num_layers)]
    return list(pattern)


def _check(key: str, value: Any, config: JsonDict, metadata: GgufMetadata) -> None:
    """Raises ConfigError for a key that is neither used nor harmless."""
    if key.startswith("rope.scal") and config.get("rope_parameters"):
        return  # the function of this name has used or refused it
    if key in _OF_PICTURES.get(metadata.architecture, ()):
        return
    harmless = _HARMLESS.get(key)
    if harmless is not None and harmless(value):
        return
    name = f"{metadata.architecture}.{key}"
    if key in _STATED:
        if key == "attention.sliding_window_pattern":
            value = _windowed(value, config["num_hidden_layers"])
        served = _STATED[key](config)
        if not _same(value, served):
            raise ConfigError(
                f"the GGUF file says {name} = {brief(value)}, which is not served: the "
                f"{config['model_type']} model computes with {brief(served)}"
            )
        return
    if _READ[_as_known(metadata.architecture)].get(key) is None:
        raise ConfigError(
            f"the GGUF file's {name} = {brief(value)} is not supported: an answer without it "
            "would be wrong; serve the model's folder in Hugging Face format instead"
        )


def _same(stated: Any, served: Any) -> bool:
    if isinstance(stated, list) and isinstance(served, list):
        return len(stated) == len(served) and all(map(_same, stated, served))
    if isinstance(stated, (int, float)) and isinstance(served, (int, float)):
        return math.isclose(stated, served, rel_tol=1e-5)
    return bool(stated == served)


def _head_dim(config: JsonDict) -> int | None:
    if config.get("head_dim"):
        return int(config["head_dim"])
    if "hidden_size" not in config or "num_attention_heads" not in config:
        return None
    return int(config["hidden_size"]) // int(config["num_attention_heads"])


def _rotary_dim(config: JsonDict) -> int | None:
    head_dim, rope = _head_dim(config), _rope(config, "full_attention")
    partial = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    return None if head_dim is None else int(head_dim * partial)


def _attention_scale(config: JsonDict) -> float | None:
    divisor = config.get("query_pre_attn_scalar") or _head_dim(config)
    return None if divisor is None else float(divisor) ** -0.5


def _layer_pattern(config: JsonDict) -> list[bool] | None:
    kinds = config.get("layer_types")
    return None if kinds is None else [kind == "sliding_attention" for kind in kinds]


def _rope(config: JsonDict, kind: str) -> JsonDict:
    """The rope settings of a kind of layer."""
    settings: JsonDict = config.get("rope_parameters") or {}
    nested = settings.get(kind)
    return nested if isinstance(nested, Mapping) else settings
