"""How the paged cache stores the heads of keys and values: as plain numbers, or in eight bits.

In a cache of int8 or float8_e4m3fn, a head of one position is quantised by itself, symmetrically:
value = scale * code, the largest code being the format's largest number. It takes `head_width`
bytes: its codes, zeros up to a multiple of four, and the scale in float32. A position never
changes once it is written, whatever follows it in its block, so that blocks are filled, shared and
copied as those of plain numbers are. Every code has its head's scale, so that nothing saturates.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The largest code of each quantised format.
LARGEST_CODE = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
#: The bytes of a scale, which lies at a multiple of them.
_SCALE_BYTES = 4


def is_quantized(dtype: torch.dtype) -> bool:
    """Whether a cache of this dtype holds codes and scales."""
    return dtype in LARGEST_CODE


def head_width(dtype: torch.dtype, head_dim: int) -> int:
    """Elements of a cache of this dtype that one head of one position takes."""
    if not is_quantized(dtype):
        return head_dim
    return -(-head_dim // _SCALE_BYTES) * _SCALE_BYTES + _SCALE_BYTES


def scales_of(cache: Tensor) -> Tensor:
    """The scales in a quantised cache, as a view: [...] of [..., head_width], float32."""
    return cache[..., -_SCALE_BYTES:].view(torch.float32)[..., 0]
