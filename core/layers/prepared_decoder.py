"""Hands a decoder's layers to a kernel that runs them all in one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ...kernels.weights import DecoderLayerWeights, DecoderWeights, PreparedDecoder
from ..interfaces import BuildContext
from .decoder_config import DecoderConfig
from .quantized_linear import linear_weight, require_weight


def prepare_decoder(
    model: Any, config: DecoderConfig, build: BuildContext
) -> PreparedDecoder | None:
    """What runs the layers of a DecoderModel, which are let go then; None if they must be run one
    by one, as when a plugin's quantisation has put layers of its own into them."""
    if not all(linear_weight(part) for layer in model.layers for part in _linear_layers(layer)):
        return None
    weights = DecoderWeights(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        activation=config.activation,
        norm_eps=config.norm_eps,
        scale=config.attention_scale,
        softcap=config.attention_softcap,
        dtype=build.dtype,
        final_norm=model.norm.scale,
        num_layers=len(config.layer_types),
        layers=_take_layers(model, config),
    )
    return build.kernels.decoder(weights)


def _linear_layers(layer: Any) -> list[nn.Module]:
    """In the order of DecoderLayerWeights."""
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return [*projections, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


def _take_layers(model: Any, config: DecoderConfig) -> Iterator[DecoderLayerWeights]:
    """Each layer's weights; it is let go before the next."""
    ropes = list(dict.fromkeys(config.layer_types))
    for i, kind in enumerate(config.layer_types):
        layer = model.layers[i]
        query, key, value, output, gate, up, down = map(require_weight, _linear_layers(layer))
        yield DecoderLayerWeights(
            query,
            key,
            value,
            output,
            gate,
            up,
            down,
            **layer.norms(),
            query_norm=layer.self_attn.q_norm.scale if config.qk_norm else None,
            key_norm=layer.self_attn.k_norm.scale if config.qk_norm else None,
            window=config.window(i),
            rope=ropes.index(kind),
        )
        del layer, query, key, value, output, gate, up, down
        model.layers[i] = nn.Module()
