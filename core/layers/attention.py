"""Self-attention over the paged KV cache."""

from __future__ import annotations

from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from ...kernels.ops import AttentionMetadata
from ..contracts.interfaces import KVLayer
from .decoder_config import DecoderConfig
from .known_modules import is_known
from .norm import RMSNorm


class PagedSelfAttention(nn.Module):
    """Grouped-query attention with rotary positions (Ainslie et al., 2023, arXiv:2305.13245)."""

    def __init__(self, config: DecoderConfig, layer: int, kernels: KernelTable) -> None:
        super().__init__()
        width, head_dim = config.hidden_size, config.head_dim
        query_width, kv_width = config.num_heads * head_dim, config.num_kv_heads * head_dim
        self.q_proj = nn.Linear(width, query_width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(width, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(width, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(query_width, width, bias=config.output_bias)
        self.q_norm, self.k_norm = (
            RMSNorm(head_dim, config.norm_eps, kernels, config.unit_offset_norm)
            if config.qk_norm
            else nn.Identity()
            for _ in range(2)
        )
        self._head_dim = head_dim
        self._scale = config.attention_scale
        self._window = config.window(layer)
        self._softcap = config.attention_softcap
        self._kernels = kernels

    def follows(self, config: DecoderConfig, layer: int) -> bool:
        """Whether it attends as one that is made for this layer of a config."""
        normed = {is_known(norm, RMSNorm) for norm in (self.q_norm, self.k_norm)}
        traits = (self._head_dim, self._scale, self._window, self._softcap)
        return normed == {config.qk_norm} and traits == (
            config.head_dim,
            config.attention_scale,
            config.window(layer),
            config.attention_softcap,
        )

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        kv: KVLayer,
        metadata: AttentionMetadata,
    ) -> Tensor:
        """x: [num_tokens, hidden_size]; the tokens' keys and values are stored on the way."""
        heads = (x.shape[0], -1, self._head_dim)
        query = self.q_norm(self.q_proj(x).view(heads))
        key = self.k_norm(self.k_proj(x).view(heads))
        value = self.v_proj(x).view(heads)
        query = self._kernels.rotary_write_kv(
            query, key, value, *rotary, kv.keys, kv.values, metadata.slot_mapping
        )
        attended = self._kernels.paged_attention(
            query, kv.keys, kv.values, metadata, self._scale, self._window, self._softcap
        )
        projected: Tensor = self.o_proj(attended.flatten(1))
        return projected
