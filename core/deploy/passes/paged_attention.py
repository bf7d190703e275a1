"""Attention over the paged cache in place of the model's own."""

from __future__ import annotations

from ..attention_interface import IMPLEMENTATION
from ..attention_masks import check_masks
from ..deployment import Deployment
from ..kv_geometry import record_kv_cache_spec


class PagedAttention:
    """See Pass."""

    name = "attention"
    summary = "let the decoder attend by the paged kernel, with keys and values in blocks"
    preserves_greedy = True
    required = True

    def apply(self, deployment: Deployment) -> str:
        """Raises ConfigError if the decoder's attention can't be exchanged."""
        decoder = deployment.decoder
        for module in decoder.modules():
            if hasattr(module, "config"):
                # Not by set_attn_implementation, which would change a vision tower's too.
                module.config._attn_implementation = IMPLEMENTATION
        name = deployment.checkpoint.name
        spec = record_kv_cache_spec(decoder, deployment.hidden_size, name)
        if not deployment.dry_run:
            check_masks(decoder, deployment.hidden_size, name)
        deployment.kv_cache_spec = spec
        return (
            f"{spec.num_layers} layers by the {deployment.kernels.backends['paged_attention']} "
            f"kernel, {spec.num_kv_heads} heads of width {spec.head_dim} to keep"
        )
