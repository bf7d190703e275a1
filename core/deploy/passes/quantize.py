"""Makes the weights of linear layers smaller, by a method of a plugin."""

from __future__ import annotations

from torch import nn

from ...layers.quantized_linear import use_dequant_kernel
from ..deployment import Deployment


class Quantize:
    """See Pass."""

    name = "quantize"
    summary = "store the weights of linear layers in fewer bits, if a method is asked for"
    preserves_greedy = False
    required = False

    def apply(self, deployment: Deployment) -> str:
        """Quantise the decoder's layers; the output layer and a vision tower stay."""
        quantizer = deployment.quantizer
        if quantizer is None:
            return "skipped: no method is asked for"
        decoder: nn.Module = deployment.decoder
        quantizer.reserve(decoder)
        if deployment.dry_run:
            return f"up to {len(quantizer.as_stored(decoder))} layers"
        before = sum(type(module) is nn.Linear for module in decoder.modules())
        quantizer.quantize_layers(decoder, deployment.dtype)
        use_dequant_kernel(decoder, deployment.kernels.dequant_linear)
        deployment.weights = quantizer.groups(decoder)
        left = sum(type(module) is nn.Linear for module in decoder.modules())
        return f"{before - left} layers; {left} are left as they are"
