"""Top-k and top-p sampling without sorting the vocabulary."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .layout import dense
from .sampling_kernels import sample_kernel


def sample_top_k_top_p(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor
) -> Tensor:
    """See `kernels.ops.SampleTopKTopP`.

    The smallest logit kept is found by a 4-ary search over the floats' bit patterns, as counts and
    sums above a threshold fall monotonically.
    """
    logits = dense(logits)
    num_rows, vocab_size = logits.shape
    tokens = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    if num_rows:
        block = min(4096, triton.next_power_of_2(vocab_size))
        sample_kernel[(num_rows,)](
            logits,
            temperature.contiguous(),
            top_k.contiguous(),
            top_p.contiguous(),
            uniform.contiguous(),
            tokens,
            vocab_size,
            logits.stride(0),
            block=block,
            num_warps=16,
        )
    return tokens
