"""Weights as operations that pack them once, at load, are given them: plain tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .ops import QuantizedWeight


@dataclass(frozen=True)
class LinearWeight:
    """Linear layer: weight [out_features, in_features], bias [out_features] or None."""

    weight: Tensor | QuantizedWeight
    bias: Tensor | None = None


@dataclass(frozen=True)
class DecoderLayerWeights:
    """One layer's weights. Norm weights are float32 factors, [hidden_size], those of queries and
    keys [head_dim]; None for a norm that the family doesn't have.

    attention_norm, mlp_norm: of a branch's output, before it is added.
    window: as in `kernels.ops.PagedAttention`. rope: which of the tables the layer rotates by.
    """

    query: LinearWeight
    key: LinearWeight
    value: LinearWeight
    output: LinearWeight
    gate: LinearWeight
    up: LinearWeight
    down: LinearWeight
    input_norm: Tensor
    mlp_input_norm: Tensor
    attention_norm: Tensor | None
    mlp_norm: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    window: int
    rope: int


@dataclass(frozen=True)
class DecoderWeights:
    """Decoder: sizes, and an iterator of layers, each of which may be freed once it is packed.

    activation: "silu" or "gelu_pytorch_tanh". dtype: of hidden states, float32 or bfloat16.
    scale, softcap: as in `kernels.ops.PagedAttention`.
    """

    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    activation: str
    norm_eps: float
    scale: float
    softcap: float
    dtype: torch.dtype
    final_norm: Tensor
    num_layers: int
    layers: Iterable[DecoderLayerWeights]


@dataclass(frozen=True)
class EncoderLayerWeights:
    """One layer of a vision transformer.

    qkv: projections to queries, keys and values: three layers, or one fused.
    attention_norm, mlp_norm: weight, and bias if it has one, of the norm before each branch.
    gate: if activation(gate(x)) * up(x) goes down instead of activation(up(x)).
    attention_scale, mlp_scale: factors of a branch's output (layer scale).
    """

    qkv: tuple[LinearWeight, ...]
    output: LinearWeight
    up: LinearWeight
    down: LinearWeight
    attention_norm: tuple[Tensor, Tensor | None]
    mlp_norm: tuple[Tensor, Tensor | None]
    gate: LinearWeight | None = None
    attention_scale: Tensor | None = None
    mlp_scale: Tensor | None = None


@dataclass(frozen=True)
class EncoderShape:
    """Sizes that the layers of a vision transformer share. Scores are divided by √head_dim.

    activation: as Hugging Face names it. rms_norm: whether norms subtract no mean; then they have
        no bias.
    """

    hidden_size: int
    intermediate_size: int
    num_heads: int
    activation: str
    norm_eps: float
    rms_norm: bool = False


@dataclass(frozen=True)
class EncoderWeights:
    """A vision transformer's layers, one at a time, so that each may be let go once it is
    prepared. dtype: of hidden states."""

    shape: EncoderShape
    dtype: torch.dtype
    num_layers: int
    layers: Iterable[EncoderLayerWeights]
