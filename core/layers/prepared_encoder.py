"""Hands a vision transformer's layers to a kernel that runs several of them in one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ...kernels.dispatch import KernelTable
from ...kernels.weights import EncoderLayerWeights, EncoderWeights, PreparedEncoder
from .quantized_linear import linear_weight, require_weight


def prepare_encoder(
    layers: nn.ModuleList, config: Any, kernels: KernelTable
) -> PreparedEncoder | None:
    """What runs the VisionLayers of a tower, which are let go then; None if they must be run one
    by one. config: their VisionTransformerConfig."""
    known = all(linear_weight(part) for layer in layers for part in _linear_layers(layer))
    if not len(layers) or not known:
        return None
    dtype: torch.dtype = next(layers.parameters()).dtype
    weights = EncoderWeights(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_heads=config.num_attention_heads,
        activation=config.hidden_act,
        norm_eps=config.layer_norm_eps,
        dtype=dtype,
        num_layers=len(layers),
        layers=_take_layers(layers),
    )
    return kernels.encoder(weights)


def _linear_layers(layer: Any) -> list[nn.Module]:
    """In the order of EncoderLayerWeights."""
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    return [*projections, mlp.fc1, mlp.fc2]


def _take_layers(layers: nn.ModuleList) -> Iterator[EncoderLayerWeights]:
    """Each layer's weights; it is let go before the next."""
    for i in range(len(layers)):
        layer: Any = layers[i]
        query, key, value, output, up, down = map(require_weight, _linear_layers(layer))
        norms = [(norm.weight, norm.bias) for norm in (layer.layer_norm1, layer.layer_norm2)]
        yield EncoderLayerWeights(query, key, value, output, up, down, *norms)
        del layer, query, key, value, output, up, down, norms
        layers[i] = nn.Module()
