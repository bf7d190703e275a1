"""Small whole numbers, several in an int32."""

from __future__ import annotations

import torch
from torch import Tensor


def unpack_words(words: Tensor, bits: int) -> Tensor:
    """int32 [..., n] -> uint8 [..., n · 32 / bits], the lowest bits first.

    Raises ValueError for bits of which no whole number fits in 32.
    """
    if bits not in (2, 4, 8):
        raise ValueError(f"numbers of {bits} bits in words of 32 are not supported, but 2, 4 and 8")
    shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=words.device)
    return ((words[..., None] >> shifts) & ((1 << bits) - 1)).flatten(-2).to(torch.uint8)
