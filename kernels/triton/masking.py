"""Masks of tokens, as bits."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


def mask_tokens(logits: Tensor, rows: Tensor, bitmask: Tensor) -> None:
    """See `kernels.ops.MaskTokens`."""
    vocab_size = logits.shape[1]
    if len(rows):
        grid = (len(rows), triton.cdiv(vocab_size, _BLOCK))
        mask_kernel[grid](
            logits, rows, bitmask, vocab_size, logits.stride(0), bitmask.stride(0), block=_BLOCK
        )


@triton.jit
def mask_kernel(
    logits, rows, bitmask, vocab_size, logits_stride, bitmask_stride, block: tl.constexpr
):
    """A program for a row and a block of tokens: writes only what is ruled out."""
    index = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + index)
    tokens = tl.program_id(1) * block + tl.arange(0, block)
    inside = tokens < vocab_size
    words = tl.load(bitmask + index * bitmask_stride + tokens // 32, mask=inside, other=-1)
    banned = ((words >> (tokens % 32)) & 1) == 0
    tl.store(logits + row * logits_stride + tokens, float("-inf"), mask=inside & banned)
