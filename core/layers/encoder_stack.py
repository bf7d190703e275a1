"""The layers of a vision transformer, one by one or through a kernel that runs several at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from ...kernels.prepared import PreparedEncoder
from ...kernels.weights import EncoderLayerWeights, EncoderShape, EncoderWeights
from .known_modules import declares_weights, is_known
from .mlp import MLP, GatedMLP
from .norm import norm_weights
from .prepared_linear import prepare_linear_layers
from .quantized_linear import linear_weights

logger = logging.getLogger(__name__)

#: cos and sin, [num_tokens, head_dim], that queries and keys rotate by.
Rotary = tuple[Tensor, Tensor]


class EncoderLayer(Protocol):
    """Layer of an EncoderStack."""

    def __call__(self, x: Tensor, lengths: Sequence[int], rotary: Rotary | None) -> Tensor:
        """x: [num_tokens, hidden_size] -> the same shape. lengths, rotary: see EncoderStack.run."""
        ...

    def weights(self) -> EncoderLayerWeights | None:
        """Weights with which a kernel computes the same as `__call__`; None if there is no such
        kernel. A subclass that computes otherwise overrides both, or is called layer by layer."""
        ...


class EncoderStack(nn.ModuleList):
    """EncoderLayers in the order in which they run."""

    def __init__(
        self, layers: Iterable[nn.Module], shape: EncoderShape, kernels: KernelTable
    ) -> None:
        super().__init__(layers)
        self._shape = shape
        self._kernels = kernels
        self._prepared: PreparedEncoder | None = None

    def run(
        self,
        x: Tensor,
        lengths: Sequence[int],
        first: int,
        last: int,
        rotary: Rotary | None = None,
    ) -> Tensor:
        """x: [num_tokens, hidden_size] -> the same shape, after layers first … last - 1.

        lengths: of the runs of tokens, such as images, that see all of each other and nothing else.
        """
        if self._prepared is not None:
            return self._prepared(x, lengths, first, last, rotary)
        for layer in list(self._layers())[first:last]:
            x = layer(x, lengths, rotary)
        return x

    def features(self, x: Tensor, lengths: Sequence[int], indices: Sequence[int]) -> Tensor:
        """The states of these indices side by side; i is the one after i layers. x, lengths: as
        in `run`."""
        states, done = {0: x}, 0
        for index in sorted(set(indices)):
            states[index] = x = self.run(x, lengths, done, index)
            done = index
        return torch.cat([states[index] for index in indices], dim=-1)

    def prepare(self) -> None:
        """See `plugin.interfaces.Preparable`. What is prepared takes the layers' place in
        `state_dict`; where no kernel runs whole layers, or one of them is of a kind that isn't
        known, their linear layers are prepared."""
        if not len(self):
            return
        dtype: torch.dtype = next(self.parameters()).dtype
        unknown = next((layer for layer in self if not _is_declared(layer)), None)
        if unknown is not None:
            kind = f"{type(unknown).__module__}.{type(unknown).__name__}"
            logger.info("a tower runs layer by layer: no kernel knows %s, or a part of it", kind)
        else:
            storages = [t for layer in self._layers() for t in _weights_of(layer).storages()]
            self._prepared = self._kernels.encoder(
                EncoderWeights(self._shape, dtype, len(self), storages, self._take())
            )
        if self._prepared is None:
            prepare_linear_layers(self, self._kernels, dtype)
            return
        for i, tensor in enumerate(self._prepared.tensors()):
            self.register_buffer(f"prepared_{i}", tensor)

    def _take(self) -> Iterator[EncoderLayerWeights]:
        """Weights of each layer, which is freed before the next."""
        for i, layer in enumerate(self._layers()):
            yield _weights_of(layer)
            del layer
            self[i] = nn.Module()

    def _layers(self) -> Iterator[EncoderLayer]:
        return (cast(EncoderLayer, self[i]) for i in range(len(self)))


def _weights_of(layer: EncoderLayer) -> EncoderLayerWeights:
    """Of one that declares them."""
    weights = layer.weights()
    assert weights is not None
    return weights


def _is_declared(layer: nn.Module) -> bool:
    return declares_weights(layer) and cast(EncoderLayer, layer).weights() is not None


def layer_weights(
    projections: Sequence[nn.Module],
    mlp: MLP | GatedMLP,
    norms: tuple[nn.Module, nn.Module],
    scales: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
) -> EncoderLayerWeights | None:
    """Result of `EncoderLayer.weights`; None for an unsupported type of linear layer, MLP or norm.

    projections: to queries, keys and values, as one layer or three, then attention's output.
    norms: before attention and before the MLP. scales: of attention's output and of the MLP's.
    """
    if not is_known(mlp, MLP, GatedMLP):
        return None
    parts = (
        (mlp.up_proj, mlp.down_proj, mlp.gate_proj)
        if isinstance(mlp, GatedMLP)
        else (mlp.fc1, mlp.fc2)
    )
    weights = linear_weights((*projections, *parts))
    attention_norm, mlp_norm = map(norm_weights, norms)
    if weights is None or attention_norm is None or mlp_norm is None:
        return None
    *qkv, output = weights[: len(projections)]
    up, down, *gate = weights[len(projections) :]
    return EncoderLayerWeights(
        tuple(qkv),
        output,
        up,
        down,
        attention_norm=attention_norm,
        mlp_norm=mlp_norm,
        gate=gate[0] if gate else None,
        attention_scale=scales[0],
        mlp_scale=scales[1],
    )
