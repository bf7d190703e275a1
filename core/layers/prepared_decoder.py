"""Preparation of a decoder's layers for a kernel that runs them all in one call."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ...kernels.prepared import PreparedDecoder
from ...kernels.weights import DecoderLayerWeights, DecoderWeights, FusedStorage
from ..contracts.interfaces import BuildContext
from ..system.memory import return_freed_memory
from .attention import PagedSelfAttention
from .decoder_config import DecoderConfig
from .known_modules import is_known
from .mlp import GatedMLP
from .norm import RMSNorm
from .quantized_linear import linear_weight, require_weight

logger = logging.getLogger(__name__)


def prepare_decoder(
    model: Any, config: DecoderConfig, build: BuildContext, known_layers: Sequence[type[nn.Module]]
) -> PreparedDecoder | None:
    """Kernel for the whole stack (the modules are freed), or None to run layer by layer, which the
    log says: a kernel computes what the known classes of layers and parts do with their weights.
    Others, such as a plugin's, may do anything.

    known_layers: classes of whole layers.
    """
    unknown = next(_unknown_parts(model, config, known_layers), None)
    if unknown is not None:
        logger.info("the decoder runs layer by layer: no kernel knows %s", unknown)
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
        storages=_storages(model, config),
        layers=_take_layers(model, config),
    )
    return build.kernels.decoder(weights)


def _unknown_parts(
    model: Any, config: DecoderConfig, known_layers: Sequence[type[nn.Module]]
) -> Iterator[str]:
    """Names of parts that no kernel supports."""
    kinds = (*known_layers, PagedSelfAttention, GatedMLP, RMSNorm, nn.Identity)
    parts = [(f"layers.{name}", part) for name, part in model.layers.named_modules() if name]
    for name, part in (*parts, ("norm", model.norm)):
        if not is_known(part, *kinds) and linear_weight(part) is None:
            yield f"{name} ({type(part).__module__}.{type(part).__name__})"
        elif isinstance(part, RMSNorm) and part.eps != config.norm_eps:
            yield f"{name}, whose eps is not the config's"
    for i, layer in enumerate(model.layers):
        if not layer.self_attn.follows(config, i):
            yield f"layers.{i}.self_attn, which is not made for this layer of the config"
        widths = {_num_outputs(part) for part in (layer.mlp.gate_proj, layer.mlp.up_proj)}
        if layer.mlp.activation != config.activation or widths != {config.intermediate_size}:
            yield f"layers.{i}.mlp, which is not made for this layer of the config"


def _num_outputs(layer: nn.Module) -> int:
    weight = require_weight(layer).weight
    return len(weight if isinstance(weight, Tensor) else weight.scale)


def _linear_layers(layer: Any) -> list[nn.Module]:
    """In the order of DecoderLayerWeights."""
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return [*projections, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


def _storages(model: Any, config: DecoderConfig) -> list[FusedStorage]:
    layers = range(len(config.layer_types))
    return [together for i in layers for together in _layer_weights(model, config, i).storages()]


def _take_layers(model: Any, config: DecoderConfig) -> Iterator[DecoderLayerWeights]:
    """Weights of each layer, which is given back to the system before the next."""
    for i in range(len(config.layer_types)):
        yield _layer_weights(model, config, i)
        model.layers[i] = nn.Module()
        return_freed_memory()


def _layer_weights(model: Any, config: DecoderConfig, i: int) -> DecoderLayerWeights:
    layer = model.layers[i]
    query, key, value, output, gate, up, down = map(require_weight, _linear_layers(layer))
    return DecoderLayerWeights(
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
        rope=list(dict.fromkeys(config.layer_types)).index(config.layer_types[i]),
    )
