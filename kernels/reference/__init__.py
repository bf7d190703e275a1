"""Plain torch implementations: the definition that every other backend is held against."""

from .activation import gelu_tanh_and_mul, silu_and_mul
from .attention import paged_attention
from .kv_cache import write_kv
from .linear import dequant_linear, dequantize
from .masking import mask_tokens
from .norm import add_rms_norm, rms_norm
from .prepared import decoder, encoder, linear
from .rotary import rotary_embedding, rotary_write_kv
from .sampling import sample_top_k_top_p

__all__ = [
    "add_rms_norm",
    "decoder",
    "dequant_linear",
    "dequantize",
    "encoder",
    "gelu_tanh_and_mul",
    "linear",
    "mask_tokens",
    "paged_attention",
    "rms_norm",
    "rotary_embedding",
    "rotary_write_kv",
    "sample_top_k_top_p",
    "silu_and_mul",
    "write_kv",
]
