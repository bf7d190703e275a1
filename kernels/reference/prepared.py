"""Plain torch prepares nothing: layers run one by one, as they were loaded."""

import torch

from ..weights import DecoderWeights, LinearWeight, PreparedDecoder, PreparedLinear


def decoder(weights: DecoderWeights) -> PreparedDecoder | None:
    """See `kernels.weights.PrepareDecoder`."""
    return None


def linear(weight: LinearWeight, dtype: torch.dtype) -> PreparedLinear | None:
    """See `kernels.weights.PrepareLinear`."""
    return None
