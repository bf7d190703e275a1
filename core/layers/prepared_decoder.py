"""Hands a decoder's layers to a kernel that runs them all in one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ...kernels.weights import DecoderLayerWeights, DecoderWeights, PreparedDecoder
from ..interfaces import BuildContext
from .decoder_config import DecoderConfig
from .quantized_linear import linear_weight

_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
_MLP = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}


def prepare_decoder(
    model: Any, config: DecoderConfig, build: BuildContext
) -> PreparedDecoder | None:
    """What runs the layers of a DecoderModel, which are let go then; None if they must be run one
    by one, as when a plugin's quantisation has put layers of its own into them."""
    if any(linear_weight(layer) is None for layer in _linear_layers(model)):
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


def _linear_layers(model: Any) -> Iterator[nn.Module]:
    for layer in model.layers:
        for part, names in ((layer.self_attn, _ATTENTION), (layer.mlp, _MLP)):
            for name in names.values():
                yield getattr(part, name)


def _take_layers(model: Any, config: DecoderConfig) -> Iterator[DecoderLayerWeights]:
    """Each layer's weights; it is let go before the next."""
    ropes = list(dict.fromkeys(config.layer_types))
    for i, kind in enumerate(config.layer_types):
        layer = model.layers[i]
        attention, mlp = layer.self_attn, layer.mlp
        linear = {
            **{ours: linear_weight(getattr(attention, name)) for ours, name in _ATTENTION.items()},
            **{ours: linear_weight(getattr(mlp, name)) for ours, name in _MLP.items()},
        }
        yield DecoderLayerWeights(
            **linear,
            **layer.norms(),
            query_norm=attention.q_norm.scale if config.qk_norm else None,
            key_norm=attention.k_norm.scale if config.qk_norm else None,
            window=config.window(i),
            rope=ropes.index(kind),
        )
        del layer, attention, mlp, linear
        model.layers[i] = nn.Module()
