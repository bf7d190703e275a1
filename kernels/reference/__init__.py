"""Plain torch implementations: the definition that every other backend is held against."""

from .activation import gelu_tanh_and_mul, silu_and_mul
from .attention import paged_attention, write_kv
from .norm import rms_norm
from .rotary import rotary_embedding

__all__ = [
    "gelu_tanh_and_mul",
    "paged_attention",
    "rms_norm",
    "rotary_embedding",
    "silu_and_mul",
    "write_kv",
]
