"""Gated activations in plain torch."""

from torch import Tensor
from torch.nn.functional import silu


def silu_and_mul(gate: Tensor, up: Tensor) -> Tensor:
    """See `kernels.ops.SiluAndMul`."""
    return silu(gate) * up
