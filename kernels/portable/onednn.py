"""Linear layers packed by oneDNN, for processors with bfloat16 instructions and no compiler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..prepared import PreparedLinear
from ..spec import KernelError
from ..weights import LinearWeight

if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    raise KernelError("this processor has no bfloat16 instructions")


class OneDnnLinear:
    """See `kernels.prepared.PreparedLinear`."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias

    def tensors(self) -> Sequence[Tensor]:
        """Tensors that own its weights."""
        return [self._packed] if self._bias is None else [self._packed, self._bias]

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        """[rows, in_features] -> [rows, out_features]."""
        output: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self._bias, "none", [], ""
        )
        return output if out_dtype is None else output.to(out_dtype)


def linear(weight: LinearWeight, dtype: torch.dtype) -> PreparedLinear | None:
    """See `kernels.prepared.PrepareLinear`."""
    if not isinstance(weight.weight, Tensor) or weight.weight.dtype is not dtype:
        return None
    return OneDnnLinear(weight.weight.detach(), weight.bias)
