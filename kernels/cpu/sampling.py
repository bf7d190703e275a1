"""Top-k and top-p sampling, and masks: see src/sampling.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from .load import load_library
from .metadata import check_indices, check_shape

_library = load_library()


def sample_top_k_top_p(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor
) -> Tensor:
    """See `kernels.ops.SampleTopKTopP`. A row's token depends on that row of the arguments alone,
    to the bit. Raises ValueError for arguments of other lengths than the rows of logits."""
    arguments = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "uniform": uniform}
    for name, argument in arguments.items():
        check_shape(name, argument, (len(logits),))
    logits = logits.float()
    logits = logits if logits.stride(-1) == 1 else logits.contiguous()
    tokens = torch.empty(len(logits), dtype=torch.int64)
    settings = [
        t.to(dtype).contiguous()
        for t, dtype in (
            (temperature, torch.float32),
            (top_k, torch.int64),
            (top_p, torch.float32),
            (uniform, torch.float32),
        )
    ]
    _library.octavo_sample(
        logits.data_ptr(),
        logits.stride(0),
        *logits.shape,
        *(t.data_ptr() for t in settings),
        tokens.data_ptr(),
        torch.get_num_threads(),
    )
    return tokens


def mask_tokens(logits: Tensor, rows: Tensor, bitmask: Tensor) -> None:
    """See `kernels.ops.MaskTokens`. Raises ValueError for arguments that don't fit together."""
    count, vocab_size = logits.shape
    if logits.dtype != torch.float32 or logits.stride(-1) != 1:
        raise ValueError(f"logits must be float32 and contiguous in a row, not {logits.dtype}")
    check_indices("rows", rows, len(bitmask))
    if bitmask.dtype != torch.int32 or not bitmask.is_contiguous():
        raise ValueError(f"bitmask must be int32 and contiguous, not {bitmask.dtype}")
    if 32 * bitmask.shape[1] < vocab_size:
        raise ValueError(f"bitmask is {list(bitmask.shape)}, too small for {vocab_size} tokens")
    if any(not 0 <= row < count for row in rows.tolist()):
        raise ValueError(f"rows must be less than {count}, not {rows.tolist()}")
    _library.octavo_mask_tokens(
        logits.data_ptr(),
        logits.stride(0),
        vocab_size,
        rows.data_ptr(),
        len(rows),
        bitmask.data_ptr(),
        bitmask.shape[1],
    )
