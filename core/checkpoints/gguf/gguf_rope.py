"""Rotary positions from a GGUF file: its scaling and its tensors of factors, in the words of
transformers' configs."""

from __future__ import annotations

import math
from typing import Any

from ...contracts.specs import JsonDict
from ...protocol.config import ConfigError
from .gguf_metadata import FREQUENCY_FACTORS, LONG_FACTORS, SHORT_FACTORS, GgufMetadata

#: llama.cpp's, where a file gives none.
_THETA = 10000.0

#: Values at which what a kind of scaling doesn't use changes nothing; None: any.
_NEUTRAL: dict[str, float | None] = {
    "attn_factor": 1.0,
    "factor": 1.0,
    "finetuned": None,
    "original_context_length": None,
    "yarn_attn_factor": 1.0,
    "yarn_beta_fast": None,
    "yarn_beta_slow": None,
    "yarn_ext_factor": None,
    "yarn_log_multiplier": 0.0,
}


def rope_parameters(config: JsonDict, metadata: GgufMetadata) -> JsonDict:
    """The config's fields about positions. config: completed, with `head_dim`.

    Raises ConfigError for a scaling that can't be followed, naming the key or the tensor.
    """
    theta = float(metadata.fields.get("rope.freq_base") or _THETA)
    settings: dict[str, Any] = {"rope_theta": theta, **_scaling(config, metadata)}
    partial = _partial_rotary_factor(config, metadata)
    found: dict[str, Any] = {}
    if "partial_rotary_factor" in config["rope_parameters"]:
        settings["partial_rotary_factor"] = partial
    _check_factors(settings, int(_head_dim(config) * partial) // 2)
    if "original_max_position_embeddings" in config:  # Phi-3 has it outside
        original = settings.get("original_max_position_embeddings")
        found["original_max_position_embeddings"] = original or config["max_position_embeddings"]
    if "sliding_attention" not in config["rope_parameters"]:
        return {**found, "rope_parameters": settings}
    local = float(metadata.fields.get("rope.freq_base_swa") or _THETA)
    windows = {"rope_theta": local, "rope_type": "default"}
    return {
        **found,
        "rope_parameters": {"full_attention": settings, "sliding_attention": windows},
    }


def _scaling(config: JsonDict, metadata: GgufMetadata) -> JsonDict:
    found: JsonDict
    keys = {key.removeprefix("rope.scaling."): key for key in metadata.fields}
    given = {
        name: metadata.fields[key] for name, key in keys.items() if key.startswith("rope.scaling.")
    }
    kind = given.pop("type", "linear")
    factor = float(given.get("factor") or metadata.fields.get("rope.scale_linear") or 1.0)
    long = metadata.has_tensor(LONG_FACTORS) or metadata.has_tensor(SHORT_FACTORS)
    if long and metadata.has_tensor(FREQUENCY_FACTORS):
        raise ConfigError(f"the GGUF file has {FREQUENCY_FACTORS} beside {LONG_FACTORS}")
    if long:
        found, used = _longrope(metadata, given), {"attn_factor", "original_context_length"}
    elif metadata.has_tensor(FREQUENCY_FACTORS) and kind in ("linear", "none"):
        slower = 1.0 if kind == "none" else factor
        found, used = _frequency_factors(config, metadata, slower), {"factor"}
    elif metadata.has_tensor(FREQUENCY_FACTORS):
        raise _refused(metadata, "type", kind, f"beside the tensor {FREQUENCY_FACTORS}")
    elif kind == "none" or (kind == "linear" and factor == 1.0):
        found, used = {"rope_type": "default"}, {"factor"}
    elif kind == "linear":
        found, used = {"rope_type": "linear", "factor": factor}, {"factor"}
    elif kind == "yarn":
        found = _yarn(config, given, factor)
        used = {"factor", "original_context_length", "attn_factor"}
        if given.get("yarn_ext_factor", 1.0) not in (1.0, -1.0):  # -1: llama.cpp's default
            raise _refused(metadata, "yarn_ext_factor", given["yarn_ext_factor"])
    else:
        raise _refused(metadata, "type", kind, "or without its tensors of factors")
    for name, value in given.items():
        harmless = name in _NEUTRAL and _NEUTRAL[name] in (None, value)
        if name not in used and not harmless:
            raise _refused(metadata, name, value)
    return found


def _longrope(metadata: GgufMetadata, given: JsonDict) -> JsonDict:
    """LongRoPE (Ding et al., 2024, arXiv:2402.13753)."""
    if "original_context_length" not in given:
        raise ConfigError(
            f"the GGUF file has {LONG_FACTORS} or {SHORT_FACTORS}, but no "
            f"{metadata.architecture}.rope.scaling.original_context_length"
        )
    return {
        "rope_type": "longrope",
        "long_factor": metadata.factors(LONG_FACTORS),
        "short_factor": metadata.factors(SHORT_FACTORS),
        "attention_factor": float(given.get("attn_factor") or 1.0),
        "original_max_position_embeddings": given["original_context_length"],
    }


def _frequency_factors(config: JsonDict, metadata: GgufMetadata, slower: float) -> JsonDict:
    """Divisors of the speeds, at any length: LongRoPE with the same factors twice."""
    factors = [value * slower for value in metadata.factors(FREQUENCY_FACTORS)]
    return {
        "rope_type": "longrope",
        "long_factor": factors,
        "short_factor": factors,
        "factor": 1.0,
        "attention_factor": 1.0,
        "original_max_position_embeddings": config["max_position_embeddings"],
    }


def _yarn(config: JsonDict, given: JsonDict, factor: float) -> JsonDict:
    amplitude = float(given.get("attn_factor") or 1.0)
    found: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": given.get("original_context_length")
        or config["max_position_embeddings"],
    }
    if amplitude != 1.0:  # llama.cpp's multiplies YaRN's own, transformers' replaces it
        found["attention_factor"] = amplitude * (0.1 * math.log(factor) + 1.0)
    for name in ("beta_fast", "beta_slow"):
        if f"yarn_{name}" in given:
            found[name] = given[f"yarn_{name}"]
    return found


def _partial_rotary_factor(config: JsonDict, metadata: GgufMetadata) -> float:
    """Factor by which head_dim gives, rounded down, the number of dimensions that rotate."""
    head_dim = _head_dim(config)
    rotated = metadata.fields.get("rope.dimension_count") or head_dim
    factor: float = rotated / head_dim
    return factor if int(head_dim * factor) == rotated else math.nextafter(factor, math.inf)


def _head_dim(config: JsonDict) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _check_factors(settings: JsonDict, num_speeds: int) -> None:
    for name in ("long_factor", "short_factor"):
        factors = settings.get(name, [])
        if factors and len(factors) != num_speeds:
            raise ConfigError(
                f"the GGUF file's tensor of rotary factors has {len(factors)} values, where "
                f"{num_speeds} belong"
            )


def _refused(metadata: GgufMetadata, name: str, value: Any, how: str = "") -> ConfigError:
    return ConfigError(
        f"the GGUF file's {metadata.architecture}.rope.scaling.{name} = {value!r} is not "
        f"supported{' ' + how if how else ''}; serve the model's folder in Hugging Face format "
        "instead"
    )
