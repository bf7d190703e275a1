"""Lays weights out as the processor's kernels read them best."""

from __future__ import annotations

from ...layers.prepared_linear import prepare_linear_layers
from ...layers.quantized_linear import linear_weight
from ..deployment import Deployment


class PackWeights:
    """See Pass."""

    name = "pack"
    summary = "lay out the weights of linear layers as the processor's kernels read them"
    preserves_greedy = True
    required = False

    def apply(self, deployment: Deployment) -> str:
        """Pack the decoder's linear layers. The output layer is left, as it may be the table of
        embeddings too."""
        decoder, kernels = deployment.decoder, deployment.kernels
        backend = kernels.backends["linear"]
        if backend == "reference":
            return f"skipped: no kernel packs weights on {deployment.device.type} in this dtype"
        if deployment.dry_run:
            count = sum(linear_weight(module) is not None for module in decoder.modules())
        else:
            count = prepare_linear_layers(decoder, kernels, deployment.dtype)
        return f"{count} layers, for {backend}"
