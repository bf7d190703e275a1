"""The Llama decoder (Touvron et al., 2023, arXiv:2302.13971) on the paged cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ....core.contracts import JsonDict
from ....core.interfaces import BuildContext, KVCacheSpec, KVLayer
from ....core.layers.attention import PagedSelfAttention
from ....core.layers.mlp import GatedMLP
from ....core.layers.norm import RMSNorm
from ....core.layers.rotary import RotaryTable, inverse_frequencies
from ....kernels.ops import AttentionMetadata


@dataclass(frozen=True)
class LlamaConfig:
    """The fields of `config.json` that matter here, with transformers' defaults."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False

    @classmethod
    def from_dict(cls, config: JsonDict) -> LlamaConfig:
        """Raises ValueError for an activation other than SiLU."""
        known = {name: config[name] for name in cls.__dataclass_fields__ if name in config}
        parsed = cls(**known)
        if parsed.hidden_act != "silu":
            raise ValueError(
                f"hidden_act {parsed.hidden_act!r} is not supported by Llama; use silu"
            )
        return parsed

    @property
    def kv_heads(self) -> int:
        """Key and value heads, as many as query heads unless grouped."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads


class LlamaDecoderLayer(nn.Module):
    """Attention, then the gated MLP, each after a norm and with a residual."""

    def __init__(self, config: LlamaConfig, build: BuildContext) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, eps, build.kernels)
        self.self_attn = PagedSelfAttention(
            width,
            config.num_attention_heads,
            config.kv_heads,
            config.head_size,
            build.kernels,
            bias=config.attention_bias,
        )
        self.post_attention_layernorm = RMSNorm(width, eps, build.kernels)
        self.mlp = GatedMLP(width, config.intermediate_size, build.kernels, bias=config.mlp_bias)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], kv: KVLayer, metadata: AttentionMetadata
    ) -> Tensor:
        """[num_tokens, hidden_size] in and out."""
        x = x + self.self_attn(self.input_layernorm(x), rotary, kv, metadata)
        output: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return output


class LlamaModel(nn.Module):
    """The decoder without its output head."""

    def __init__(self, config: LlamaConfig, build: BuildContext) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            LlamaDecoderLayer(config, build) for _ in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, build.kernels)


class LlamaForCausalLM(nn.Module):
    """See `core.interfaces.LanguageModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        super().__init__()
        parsed = LlamaConfig.from_dict(config)
        self.vocab_size = parsed.vocab_size
        self.hidden_size = parsed.hidden_size
        self.max_position_embeddings = parsed.max_position_embeddings
        self.kv_cache_spec = KVCacheSpec(
            parsed.num_hidden_layers, parsed.kv_heads, parsed.head_size
        )
        self._tied = parsed.tie_word_embeddings
        self._rotary = RotaryTable(
            inverse_frequencies(config, parsed.head_size, build.device),
            parsed.max_position_embeddings,
            build.dtype,
        )
        self.model = LlamaModel(parsed, build)
        if not self._tied:
            self.lm_head = nn.Linear(parsed.hidden_size, parsed.vocab_size, bias=False)

    def map_weight(self, name: str) -> str | None:
        """Checkpoint names are ours, but for a redundant head and older rotary buffers."""
        if name.endswith("rotary_emb.inv_freq") or (self._tied and name == "lm_head.weight"):
            return None
        return name

    def embed(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, hidden_size]."""
        embeddings: Tensor = self.model.embed_tokens(token_ids)
        return embeddings

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor,
        kv_cache: Sequence[KVLayer],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """See `core.interfaces.LanguageModel.forward`."""
        rotary = self._rotary.lookup(positions)
        x = embeds
        for layer, kv in zip(self.model.layers, kv_cache, strict=True):
            x = layer(x, rotary, kv, metadata)
        output: Tensor = self.model.norm(x)
        return output

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size]."""
        weight = self.model.embed_tokens.weight if self._tied else self.lm_head.weight
        return nn.functional.linear(hidden, weight)
