"""A decoder on the paged cache, whose family's traits are a DecoderConfig."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from ...kernels.dtypes import fits_bfloat16
from ...kernels.ops import AttentionMetadata
from ...kernels.prepared import PreparedDecoder, PreparedLinear
from ..contracts.interfaces import BuildContext, KVCacheSpec, KVLayer, WeightPlace
from .attention import PagedSelfAttention
from .decoder_config import DecoderConfig
from .known_modules import is_known
from .mlp import GatedMLP
from .norm import RMSNorm
from .prepared_decoder import prepare_decoder
from .prepared_linear import prepare_linear_layers
from .quantized_linear import QuantizedLinear, linear_weight
from .rotary import RotaryTable, rotary_table
from .stored.quantized_embedding import QuantizedEmbedding

logger = logging.getLogger(__name__)


class DecoderLayer(nn.Module):
    """Attention, then the gated MLP, each after a norm and with a residual."""

    def __init__(self, config: DecoderConfig, layer: int, build: BuildContext) -> None:
        super().__init__()
        kernels = build.kernels
        self.input_layernorm = _norm(config, build)
        self.self_attn = PagedSelfAttention(config, layer, kernels)
        self.post_attention_layernorm = _norm(config, build)
        self.mlp = GatedMLP(
            config.hidden_size,
            config.intermediate_size,
            kernels,
            config.activation,
            bias=config.mlp_bias,
        )

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], kv: KVLayer, metadata: AttentionMetadata
    ) -> Tensor:
        """[num_tokens, hidden_size] in and out."""
        attended = self.self_attn(self.input_layernorm(x), rotary, kv, metadata)
        normed, x = self.post_attention_layernorm.add(attended, x)
        output: Tensor = x + self.mlp(normed)
        return output

    def norms(self) -> dict[str, Tensor | None]:
        """Norm factors by the names of `kernels.weights.DecoderLayerWeights`."""
        return {
            "input_norm": self.input_layernorm.scale,
            "mlp_input_norm": self.post_attention_layernorm.scale,
            "attention_norm": None,
            "mlp_norm": None,
        }


class SandwichDecoderLayer(DecoderLayer):
    """With norms before and after both parts, as in Gemma 2 (arXiv:2408.00118)."""

    def __init__(self, config: DecoderConfig, layer: int, build: BuildContext) -> None:
        super().__init__(config, layer, build)
        self.pre_feedforward_layernorm = _norm(config, build)
        self.post_feedforward_layernorm = _norm(config, build)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], kv: KVLayer, metadata: AttentionMetadata
    ) -> Tensor:
        """[num_tokens, hidden_size] in and out."""
        attended = self.self_attn(self.input_layernorm(x), rotary, kv, metadata)
        x = x + self.post_attention_layernorm(attended)
        output: Tensor = x + self.post_feedforward_layernorm(
            self.mlp(self.pre_feedforward_layernorm(x))
        )
        return output

    def norms(self) -> dict[str, Tensor | None]:
        """See DecoderLayer."""
        return {
            "input_norm": self.input_layernorm.scale,
            "attention_norm": self.post_attention_layernorm.scale,
            "mlp_input_norm": self.pre_feedforward_layernorm.scale,
            "mlp_norm": self.post_feedforward_layernorm.scale,
        }


class DecoderModel(nn.Module):
    """The decoder without its output head."""

    def __init__(self, config: DecoderConfig, build: BuildContext) -> None:
        super().__init__()
        kind = SandwichDecoderLayer if config.sandwich_norms else DecoderLayer
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(kind(config, i, build) for i in range(len(config.layer_types)))
        self.norm = _norm(config, build)


class DecoderForCausalLM(nn.Module):
    """See `plugin.interfaces.LanguageModel`. Parameter names are Hugging Face's."""

    #: See `plugin.interfaces.StoredTableModel`.
    table_name = "model.embed_tokens"

    def __init__(self, config: DecoderConfig, build: BuildContext) -> None:
        super().__init__()
        self.vocab_size = config.vocab_size
        self.hidden_size = config.hidden_size
        self.max_position_embeddings = config.max_position_embeddings
        self._config = config
        self._build = build
        self._decoder: PreparedDecoder | None = None
        self._head: PreparedLinear | None = None
        self._rotary = {
            kind: rotary_table(
                config.rope[kind],
                config.head_dim,
                config.max_position_embeddings,
                build.device,
                build.dtype,
            )
            for kind in dict.fromkeys(config.layer_types)
        }
        self.kv_cache_spec = KVCacheSpec(
            len(config.layer_types),
            config.num_kv_heads,
            config.head_dim,
            _recompute_beyond(self._rotary.values()),
        )
        # Rounded as the embeddings are.
        scale = torch.tensor(config.embedding_scale, dtype=build.dtype, device="cpu")
        self._embedding_scale = scale.item()
        self._tied = config.tied_embeddings
        self.model = DecoderModel(config, build)
        if not self._tied:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def map_weight(self, name: str) -> WeightPlace:
        """Checkpoint names are ours, but for a redundant head and older rotary buffers."""
        if name.endswith("rotary_emb.inv_freq") or (self._tied and name == "lm_head.weight"):
            return None
        return name

    def embed(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, hidden_size]."""
        embeddings: Tensor = self.model.embed_tokens(token_ids).to(self._build.dtype)
        return embeddings * self._embedding_scale if self._embedding_scale != 1.0 else embeddings

    def output_head(self) -> nn.Module:
        """The layer that gives logits; one of its own even if its weight is the embeddings'."""
        table = self.model.embed_tokens
        if not hasattr(self, "lm_head") and isinstance(table, QuantizedEmbedding):
            self.lm_head = QuantizedLinear(table.weight, None, self._build.kernels.dequant_linear)
        elif not hasattr(self, "lm_head"):
            self.lm_head = nn.Linear(self.hidden_size, self.vocab_size, bias=False, device="meta")
            self.lm_head.weight = table.weight
        return self.lm_head

    def prepare(self) -> None:
        """See `plugin.interfaces.Preparable`."""
        kernels, dtype = self._build.kernels, self._build.dtype
        if type(self).forward is DecoderForCausalLM.forward:
            known = (DecoderLayer, SandwichDecoderLayer)
            self._decoder = prepare_decoder(self.model, self._config, self._build, known)
        else:
            logger.info("the decoder runs layer by layer: %s does, by its forward", type(self))
        if self._decoder is None:
            prepare_linear_layers(self.model, kernels, dtype)
        else:
            self._rotary = {kind: table.widened() for kind, table in self._rotary.items()}
        weight = linear_weight(self.output_head())
        if weight is not None:
            self._head = kernels.linear(weight, dtype)
        if self._head is not None:
            del self.lm_head
            self._store_embeddings_as_bf16()
        prepared = [part.tensors() for part in (self._decoder, self._head) if part is not None]
        for i, tensor in enumerate(chain.from_iterable(prepared)):
            self.register_buffer(f"prepared_{i}", tensor, persistent=False)

    def _store_embeddings_as_bf16(self) -> None:
        """Keep the embedding table in bf16 if that is lossless; only lookups remain."""
        table = self.model.embed_tokens
        if not is_known(table, nn.Embedding):
            return
        if table.weight.dtype is torch.float32 and fits_bfloat16(table.weight):
            table.weight = nn.Parameter(table.weight.bfloat16(), requires_grad=False)

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor,
        kv_cache: Sequence[KVLayer],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """See `plugin.interfaces.LanguageModel.forward`."""
        rotary = {kind: table.lookup(positions, metadata) for kind, table in self._rotary.items()}
        if self._decoder is not None:
            return self._decoder(embeds, list(rotary.values()), kv_cache, metadata)
        x = embeds
        kinds = self._config.layer_types
        for layer, kind, kv in zip(self.model.layers, kinds, kv_cache, strict=True):
            x = layer(x, rotary[kind], kv, metadata)
        output: Tensor = self.model.norm(x)
        return output

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size]."""
        logits: Tensor
        if self._head is not None:
            logits = self._head(hidden, torch.float32)
        else:
            logits = self.output_head()(hidden)
        softcap = self._config.final_softcap
        return torch.tanh(logits / softcap) * softcap if softcap else logits


def _recompute_beyond(tables: Iterable[RotaryTable]) -> int | None:
    """See KVCacheSpec. Raises ValueError if there are several such lengths."""
    limits = {table.short_limit for table in tables if table.short_limit}
    if len(limits) > 1:
        raise ValueError(
            f"layers whose rope changes at different lengths, {sorted(limits)}, are not supported"
        )
    return limits.pop() if limits else None


def _norm(config: DecoderConfig, build: BuildContext) -> RMSNorm:
    return RMSNorm(config.hidden_size, config.norm_eps, build.kernels, config.unit_offset_norm)
