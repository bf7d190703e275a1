"""Plain torch prepares nothing: layers run one by one, as they were loaded."""

import torch

from ..prepared import PreparedDecoder, PreparedEncoder, PreparedLinear
from ..weights import DecoderWeights, EncoderWeights, LinearWeight


def decoder(weights: DecoderWeights) -> PreparedDecoder | None:
    """See `kernels.prepared.PrepareDecoder`."""
    return None


def encoder(weights: EncoderWeights) -> PreparedEncoder | None:
    """See `kernels.prepared.PrepareEncoder`."""
    return None


def linear(weight: LinearWeight, dtype: torch.dtype) -> PreparedLinear | None:
    """See `kernels.prepared.PrepareLinear`."""
    return None
