"""Number formats of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def dtype_name(dtype: torch.dtype) -> str:
    """Such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def fits_bfloat16(values: Tensor) -> bool:
    """Whether bfloat16 holds float32 values exactly: the lower halves of all words are zero."""
    return not bool((values.detach().contiguous().view(torch.int32) & 0xFFFF).any())
