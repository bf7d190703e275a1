"""Layers that models and vision encoders are made of; parameter names are Hugging Face's."""

from ..core.layers.activation import get_activation
from ..core.layers.attention import PagedSelfAttention
from ..core.layers.decoder import DecoderForCausalLM, DecoderLayer, DecoderModel
from ..core.layers.decoder_config import DecoderConfig
from ..core.layers.encoder_stack import EncoderStack, layer_weights
from ..core.layers.mlp import MLP, GatedMLP
from ..core.layers.norm import RMSNorm
from ..core.layers.patches import PatchEmbedding, pixel_shuffle
from ..core.layers.prepared_linear import prepare_linear_layers
from ..core.layers.quantized_linear import QuantizedLinear, quantize_groups, quantize_rows
from ..core.layers.ragged import apply_batched, attend_within, encode_stacked
from ..core.layers.rotary import RotaryTable, rotary_table
from ..core.layers.vision_language import VisionLanguageModel
from ..core.layers.vision_transformer import (
    VisionLayer,
    VisionLayers,
    VisionTransformerConfig,
    keep_weight,
)

#: Older name.
together = apply_batched

__all__ = [
    "MLP",
    "DecoderConfig",
    "DecoderForCausalLM",
    "DecoderLayer",
    "DecoderModel",
    "EncoderStack",
    "GatedMLP",
    "PagedSelfAttention",
    "PatchEmbedding",
    "QuantizedLinear",
    "RMSNorm",
    "RotaryTable",
    "VisionLanguageModel",
    "VisionLayer",
    "VisionLayers",
    "VisionTransformerConfig",
    "apply_batched",
    "attend_within",
    "encode_stacked",
    "get_activation",
    "keep_weight",
    "layer_weights",
    "pixel_shuffle",
    "prepare_linear_layers",
    "quantize_groups",
    "quantize_rows",
    "rotary_table",
    "together",
]
