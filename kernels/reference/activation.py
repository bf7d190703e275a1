"""Gated activations in plain torch."""

from torch import Tensor
from torch.nn.functional import gelu, silu


def silu_and_mul(gate: Tensor, up: Tensor) -> Tensor:
    """See `kernels.ops.GatedActivation`."""
    return silu(gate) * up


def gelu_tanh_and_mul(gate: Tensor, up: Tensor) -> Tensor:
    """See `kernels.ops.GatedActivation`."""
    return gelu(gate, approximate="tanh") * up
