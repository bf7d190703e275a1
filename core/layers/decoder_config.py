"""Sizes and traits of a decoder family, read from a text model's config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..contracts.specs import JsonDict

_FULL, _SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class DecoderConfig:
    """The sizes and traits of a decoder of attention and gated feed-forward blocks.

    layer_types: "full_attention" or "sliding_attention", for each layer.
    rope: the rope settings of each kind of layer.
    attention_softcap, final_softcap: caps on attention scores and on logits; 0 for none.
    qk_norm: queries and keys are normalised, head by head, before they are rotated.
    unit_offset_norm: norms scale by 1 + weight.
    sandwich_norms: each block's output is normalised too, before it is added.
    embedding_scale: token embeddings are multiplied by it.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    activation: str
    max_position_embeddings: int
    norm_eps: float
    tied_embeddings: bool
    layer_types: tuple[str, ...]
    sliding_window: int
    rope: dict[str, JsonDict] = field(hash=False)
    attention_scale: float
    attention_softcap: float
    final_softcap: float
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    unit_offset_norm: bool = False
    sandwich_norms: bool = False
    embedding_scale: float = 1.0

    @classmethod
    def from_dict(cls, config: JsonDict, **traits: Any) -> DecoderConfig:
        """Read the fields by the names that Hugging Face configs share. traits: what the family
        has and its configs don't say. Raises KeyError for a field that is missing."""
        heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
        limit = config["max_position_embeddings"]
        window = config.get("sliding_window") or 0
        window = window if window < limit else 0
        return cls(
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_heads=heads,
            num_kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=head_dim,
            activation=config.get("hidden_activation") or config["hidden_act"],
            max_position_embeddings=limit,
            norm_eps=config["rms_norm_eps"],
            tied_embeddings=bool(config.get("tie_word_embeddings")),
            layer_types=_layer_types(config, window),
            sliding_window=window,
            rope=_rope_settings(config),
            attention_scale=(config.get("query_pre_attn_scalar") or head_dim) ** -0.5,
            attention_softcap=config.get("attn_logit_softcapping") or 0.0,
            final_softcap=config.get("final_logit_softcapping") or 0.0,
            **traits,
        )

    def window(self, layer: int) -> int:
        """Number of positions that a token of this layer sees; 0 is all."""
        return self.sliding_window if self.layer_types[layer] == _SLIDING else 0


def _layer_types(config: JsonDict, window: int) -> tuple[str, ...]:
    """Raises ValueError for a kind of layer that is not known."""
    given = config.get("layer_types")
    if given is None:
        kind = _SLIDING if window else _FULL
        return tuple(kind for _ in range(config["num_hidden_layers"]))
    unknown = set(given) - {_FULL, _SLIDING}
    if unknown:
        raise ValueError(f"layer_types {sorted(unknown)} are not supported")
    return tuple(given)


def _rope_settings(config: JsonDict) -> dict[str, JsonDict]:
    """Settings are one for all layers, or one for each kind of layer."""
    settings = config.get("rope_parameters") or {}
    if _FULL in settings or _SLIDING in settings:
        return {kind: _with_trained_length(part, config) for kind, part in settings.items()}
    return dict.fromkeys((_FULL, _SLIDING), _with_trained_length(settings, config))


def _with_trained_length(settings: JsonDict, config: JsonDict) -> JsonDict:
    """Settings with the original context length, which some configs have beside them."""
    name = "original_max_position_embeddings"
    return {name: config[name], **settings} if config.get(name) else settings
