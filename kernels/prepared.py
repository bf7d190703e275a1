"""Operations that prepare weights once, at load, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .ops import AttentionMetadata
from .weights import DecoderWeights, EncoderWeights, LinearWeight


class PreparedDecoder(Protocol):
    """Runs all layers and the final norm of a decoder."""

    def __call__(
        self,
        embeds: Tensor,
        rotary: Sequence[tuple[Tensor, Tensor]],
        kv_cache: Sequence[tuple[Tensor, Tensor]],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """embeds: [num_tokens, hidden_size]; rotary: cos and sin [num_tokens, rotary_dim] of each
        table; kv_cache: keys and values of each layer, the same ones as long as it is the same
        object. Returns [num_tokens, hidden_size], of which only the metadata's output_rows need
        be valid."""
        ...

    def tensors(self) -> Sequence[Tensor]:
        """Tensors that own its weights."""
        ...


class PreparedLinear(Protocol):
    """A linear layer."""

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        """[rows, in_features] -> [rows, out_features]. out_dtype: that of x, which it is by
        default, or float32."""
        ...

    def tensors(self) -> Sequence[Tensor]:
        """Tensors that own its weights."""
        ...


class PrepareDecoder(Protocol):
    """The operation "decoder"."""

    def __call__(self, weights: DecoderWeights) -> PreparedDecoder | None:
        """None to run layer by layer; then no layer was consumed."""
        ...


class PreparedEncoder(Protocol):
    """Runs layers of a vision transformer."""

    def __call__(
        self,
        x: Tensor,
        lengths: Sequence[int],
        first: int,
        last: int,
        rotary: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """x: [num_tokens, hidden_size] -> the same shape, after layers first … last - 1.

        lengths: of the runs of tokens, such as images, that see all of each other and nothing
            else. rotary: cos and sin, [num_tokens, head_dim], that queries and keys rotate by.
        """
        ...

    def tensors(self) -> Sequence[Tensor]:
        """Tensors that own its weights."""
        ...


class PrepareEncoder(Protocol):
    """The operation "encoder"."""

    def __call__(self, weights: EncoderWeights) -> PreparedEncoder | None:
        """None to run layer by layer; then no layer was consumed."""
        ...


class PrepareLinear(Protocol):
    """The operation "linear"."""

    def __call__(self, weight: LinearWeight, dtype: torch.dtype) -> PreparedLinear | None:
        """dtype: of activations. None to leave the layer as it is."""
        ...
