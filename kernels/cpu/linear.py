"""Single linear layers, such as a model's output head."""

import torch

from ..prepared import PreparedLinear
from ..weights import FusedStorage, LinearWeight
from .load import load_library
from .packing import can_pack, pack

load_library()


def linear(weight: LinearWeight, dtype: torch.dtype) -> PreparedLinear | None:
    """See `kernels.prepared.PrepareLinear`."""
    if dtype not in (torch.float32, torch.bfloat16) or not can_pack(
        FusedStorage((weight.storage,))
    ):
        return None
    return pack([weight], dtype)
