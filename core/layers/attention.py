"""Self-attention over the paged KV cache."""

from __future__ import annotations

from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from ...kernels.ops import AttentionMetadata
from ..interfaces import KVLayer


class PagedSelfAttention(nn.Module):
    """Grouped-query attention with rotary positions (Ainslie et al., 2023, arXiv:2305.13245)."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        kernels: KernelTable,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.q_proj = nn.Linear(hidden_size, num_heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden_size, num_kv_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden_size, num_kv_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(num_heads * head_dim, hidden_size, bias=bias)
        self._head_dim = head_dim
        self._scale = head_dim**-0.5
        self._kernels = kernels

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        kv: KVLayer,
        metadata: AttentionMetadata,
    ) -> Tensor:
        """x: [num_tokens, hidden_size]; the tokens' keys and values are stored on the way."""
        heads = (x.shape[0], -1, self._head_dim)
        query = self._kernels.rotary_embedding(self.q_proj(x).view(heads), *rotary)
        key = self._kernels.rotary_embedding(self.k_proj(x).view(heads), *rotary)
        value = self.v_proj(x).view(heads)
        self._kernels.write_kv(key, value, kv.keys, kv.values, metadata.slot_mapping)
        attended = self._kernels.paged_attention(query, kv.keys, kv.values, metadata, self._scale)
        projected: Tensor = self.o_proj(attended.flatten(1))
        return projected
