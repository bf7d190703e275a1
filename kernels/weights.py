"""Weights as operations that pack them once, at load, are given them: plain tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .dtypes import dtype_name
from .ops import QuantizedWeight


@dataclass(frozen=True)
class Storage:
    """How a weight is stored, which says whether a kernel can take it.

    format: its dtype, such as "bfloat16", or its quantised format. group_size: inputs that share a
        scale; 0 for a dtype.
    """

    format: str
    out_features: int
    in_features: int
    group_size: int = 0
    has_zero: bool = False

    def __str__(self) -> str:
        if not self.group_size:
            return self.format
        zero = " with zeros" if self.has_zero else ""
        return f"{self.format} in groups of {self.group_size}{zero}"


@dataclass(frozen=True)
class FusedStorage:
    """Of layers with the same input, which kernels take as one. interleaved: some outputs of each
    in turn instead of one layer after the other."""

    parts: tuple[Storage, ...]
    interleaved: bool = False

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))


@dataclass(frozen=True)
class LinearWeight:
    """Linear layer: weight [out_features, in_features], bias [out_features] or None."""

    weight: Tensor | QuantizedWeight
    bias: Tensor | None = None

    @property
    def storage(self) -> Storage:
        """Of its weight."""
        w = self.weight
        if isinstance(w, Tensor):
            return Storage(dtype_name(w.dtype), *w.shape)
        return Storage(w.format, w.out_features, w.in_features, w.group_size, w.zero is not None)


def _fused(*weights: LinearWeight, interleaved: bool = False) -> FusedStorage:
    return FusedStorage(tuple(weight.storage for weight in weights), interleaved)


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

    def storages(self) -> list[FusedStorage]:
        """Of layers with the same input."""
        return [
            _fused(self.query, self.key, self.value),
            _fused(self.output),
            _fused(self.gate, self.up, interleaved=True),
            _fused(self.down),
        ]


@dataclass(frozen=True)
class DecoderWeights:
    """Decoder: sizes, and an iterator of layers, each of which may be freed once it is packed.

    activation: "silu" or "gelu_pytorch_tanh". dtype: of hidden states, float32 or bfloat16.
    scale, softcap: as in `kernels.ops.PagedAttention`. storages: of the layers' weights; all
    that can be looked at before a layer is consumed.
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
    storages: Sequence[FusedStorage]
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

    def storages(self) -> list[FusedStorage]:
        """Of layers with the same input."""
        up = _fused(self.up) if self.gate is None else _fused(self.gate, self.up, interleaved=True)
        return [_fused(*self.qkv), _fused(self.output), up, _fused(self.down)]


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
    prepared. dtype: of hidden states. storages: as DecoderWeights has them."""

    shape: EncoderShape
    dtype: torch.dtype
    num_layers: int
    storages: Sequence[FusedStorage]
    layers: Iterable[EncoderLayerWeights]
