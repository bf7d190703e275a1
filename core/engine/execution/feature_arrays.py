"""Features as tensors and as the arrays that are stored and sent."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ....kernels.dtypes import dtype_name
from ...encoder_store.features import Features
from ...protocol.messages import FeatureInput


def to_tensor(payload: FeatureInput) -> Tensor:
    """[num_features, hidden_size], in memory of its own."""
    tensor = torch.from_numpy(np.array(payload.features.array))
    return tensor.view(torch.bfloat16) if payload.dtype == "bfloat16" else tensor


def from_tensor(tensor: Tensor) -> Features:
    """The same, shared with the tensor where that lies in the processor's memory."""
    tensor = tensor.detach().cpu().contiguous()
    dtype = dtype_name(tensor.dtype)
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return Features(dtype, tensor.numpy())
