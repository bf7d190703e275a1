"""A transformers model behind Octavo's interface for language models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import pad

from ...kernels.dispatch import KernelTable
from ...kernels.ops import AttentionMetadata
from ..contracts.interfaces import KVLayer, WeightPlace
from .attention_interface import running
from .deployment import Deployment
from .output_head import OutputHead


@dataclass(frozen=True)
class _PagedStep:
    """See AttentionStep: the layers write to the paged cache and attend to it."""

    kv_cache: Sequence[KVLayer]
    head_dim: int
    metadata: AttentionMetadata
    kernels: KernelTable

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        window: int,
        softcap: float,
    ) -> Tensor:
        """See AttentionStep."""
        kv, width = self.kv_cache[layer], self.head_dim
        self.kernels.write_kv(
            _widen(key, width), _widen(value, width), kv.keys, kv.values, self.metadata.slot_mapping
        )
        attended = self.kernels.paged_attention(
            _widen(query, width), kv.keys, kv.values, self.metadata, scale, window, softcap
        )
        return attended[..., : value.shape[-1]]


def _widen(x: Tensor, width: int) -> Tensor:
    """Heads padded with zeros, where keys are wider than values or the other way round."""
    return x if x.shape[-1] == width else pad(x, (0, width - x.shape[-1]))


class DeployedModel(nn.Module):
    """See `plugin.interfaces.LanguageModel`. deployment: one that all passes have been through."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        assert deployment.kv_cache_spec is not None
        self._model = model = deployment.model
        self._decoder = model.get_decoder()
        self._embeddings = model.get_input_embeddings()
        self._head = OutputHead(model)
        self._kernels = deployment.kernels
        text_config = model.config.get_text_config(decoder=True)
        self.hidden_size = deployment.hidden_size
        self.vocab_size: int = self._head(self._embeddings.weight[:1]).shape[1]
        self.max_position_embeddings: int = text_config.max_position_embeddings
        self.kv_cache_spec = deployment.kv_cache_spec
        rope = getattr(text_config, "rope_parameters", None) or {}
        self._three_positions = "mrope_section" in rope

    def map_weight(self, name: str) -> WeightPlace:
        """transformers has loaded all weights."""
        return None

    def embed(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, hidden_size]."""
        embeddings: Tensor = self._embeddings(token_ids)
        return embeddings

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor,
        kv_cache: Sequence[KVLayer],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """See `plugin.interfaces.LanguageModel.forward`. The ragged batch is one sequence to
        transformers; what tells its requests apart is the metadata."""
        if self._three_positions and positions.dim() == 1:
            positions = positions.expand(3, -1)
        step = _PagedStep(kv_cache, self.kv_cache_spec.head_dim, metadata, self._kernels)
        with running(step):
            output = self._decoder(
                inputs_embeds=embeds[None], position_ids=positions[..., None, :], use_cache=False
            )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size]."""
        return self._head(hidden)
