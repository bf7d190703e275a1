"""The torch side of the plugin contract: what a model and an encoder must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from ...kernels.kv_format import head_width
from ...kernels.ops import AttentionMetadata
from .specs import JsonDict

#: Names of a model's parts that are looked for: what is quantised, and what features depend on.
LANGUAGE_MODEL, OUTPUT_HEAD = "language_model", "lm_head"

#: Place of a checkpoint's tensor in the model: the parameter's name; several names for one whose
#: rows are those of several parameters, in this order; None for one that is not needed.
WeightPlace = str | tuple[str, ...] | None


@dataclass(frozen=True)
class KVCacheSpec:
    """Cost of one token in the paged cache: the same heads in every layer.

    recompute_beyond: a sequence that grows longer than this has other keys, of all of its tokens,
        and is computed anew; None if keys never change.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    recompute_beyond: int | None = None

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes of keys and values that one token occupies over all layers in a cache of a dtype,
        their scales included."""
        width = head_width(dtype, self.head_dim) * dtype.itemsize
        return 2 * self.num_layers * self.num_kv_heads * width


class KVLayer(NamedTuple):
    """One layer's cache: keys and values [num_blocks, block_size, num_kv_heads, head_width], views
    of a tensor that holds what belongs to the other layers between two blocks. head_width is
    head_dim, or a few more if the cache is quantised, see `kernels.kv_format`: only the kernels
    read and write it."""

    keys: Tensor
    values: Tensor


class VisionEncoder(Protocol):
    """A vision tower, constructed as Class(vision_config, feature_layers, build).

    feature_layers: whose outputs are wanted, side by side, as indices into transformers'
        `hidden_states`; none for the tower's own final output.
    """

    #: Width of one feature vector.
    hidden_size: int

    def map_weight(self, name: str) -> WeightPlace:
        """Place of a checkpoint's tensor of this name."""
        ...

    def __call__(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]] = ()
    ) -> Sequence[Tensor]:
        """Images as they were preprocessed, [channels, height, width] or of the encoder's own
        shapes -> for each [num_tokens, hidden_size]. layouts: those of its own preprocessor, for
        an encoder that takes images of any size."""
        ...


class LanguageModel(Protocol):
    """A decoder on the paged cache, constructed as Class(config, build)."""

    vocab_size: int
    hidden_size: int
    max_position_embeddings: int
    kv_cache_spec: KVCacheSpec

    def map_weight(self, name: str) -> WeightPlace:
        """Place of a checkpoint's tensor of this name."""
        ...

    def embed(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, hidden_size]."""
        ...

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor,
        kv_cache: Sequence[KVLayer],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """Run a ragged batch, [num_tokens, hidden_size] in and out, and extend the cache.

        positions: [num_tokens], or [3, num_tokens] for "mrope" if a sequence has images. Only the
        metadata's output_rows need to be computed to the end; a wrapper that needs every row
        must pass `dataclasses.replace(metadata, output_rows=None)`.
        """
        ...

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden_size] -> [num_rows, vocab_size], which the caller may change."""
        ...


@runtime_checkable
class MultiModalModel(Protocol):
    """Methods of a LanguageModel that takes images, besides its own."""

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """Images as they were preprocessed, each of its own shape -> for each [num_features,
        hidden_size]. layouts: those of the images."""
        ...


@runtime_checkable
class Preparable(Protocol):
    """Part of a model whose weights can be packed for its kernels."""

    def prepare(self) -> None:
        """Called once, when all weights are there and final; what is replaced may be let go."""
        ...


@runtime_checkable
class OutputHeadModel(Protocol):
    """Model whose output head may be quantised."""

    def output_head(self) -> nn.Module:
        """The layer that gives logits, as `lm_head` from then on; one of its own even if its
        weight is the embeddings'."""
        ...


@runtime_checkable
class StoredTableModel(OutputHeadModel, Protocol):
    """Model whose table of embeddings may stay quantised: something else than an nn.Embedding that
    gives its rows, as float32, and has them all as a QuantizedWeight in `weight`."""

    #: Of the nn.Embedding, in the model.
    table_name: str


class QuantMethod(Protocol):
    """Makes linear layers smaller as a plain checkpoint is loaded, constructed as Class({}) if the
    operator asked for the method. The same class may be a StoredQuantMethod.

    It is offered every nn.Linear of the language model except its head: for a model that takes
    images, those below a part named `language_model`, so that towers stay as they are. A class
    with a true attribute `quantizes_head` is offered the head too, as "…lm_head"; if that is
    another method's name, only where a rule names the head, and else the other method is. Rules
    may leave layers out, and add others. Methods return the module that takes the layer's place,
    or None to leave it.
    """

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """For a layer with loaded weights."""
        ...


@runtime_checkable
class StoredQuantMethod(Protocol):
    """Reads checkpoints that are quantised with it, constructed as Class(settings) with their
    `quantization_config`; the layers are those that a QuantMethod is offered.

    A FinishingQuantMethod with a true attribute `reads_tables` is offered an output head too that
    is no table of embeddings, and the table of a StoredTableModel, as a linear layer of the same
    weight, which must become a QuantizedLinear. One with an attribute `marker`, the name of a
    tensor that each layer stored with the method has, is offered the linear layers that have it,
    and no others: heads and those outside the language model too.
    """

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """Before loading: a module without storage that has the checkpoint's names and shapes. Its
        parameters are filled in the model's dtype; its buffers in the dtypes that they have, which
        must be the file's, but for float16, bfloat16 and float32 in each other's place."""
        ...


@runtime_checkable
class FinishingQuantMethod(StoredQuantMethod, Protocol):
    """A StoredQuantMethod whose layers are made when their tensors are there."""

    def finish(self, name: str, module: nn.Module) -> nn.Module:
        """For what `reserve` returned, filled: the layer that takes its place."""
        ...


@runtime_checkable
class ReadingQuantMethod(StoredQuantMethod, Protocol):
    """A StoredQuantMethod that makes other tensors of the checkpoint's as they are read."""

    def read(
        self, names: Collection[str], weights: Iterable[tuple[str, Tensor]]
    ) -> Iterator[tuple[str, Tensor]]:
        """What is loaded in place of weights, which are the checkpoint's, each with its name.
        names: all that will come, in no order."""
        ...


class LogitsProcessor(Protocol):
    """Changes the logits of one request, constructed as Class(arguments) with the JSON value
    that the request gave. The constructor raises for arguments that make no sense."""

    def __call__(
        self, prompt_token_ids: Sequence[int], output_token_ids: Sequence[int], logits: Tensor
    ) -> Tensor:
        """logits: [vocab_size], float32, of the next token; returns the same shape. The token ids
        are the engine's own lists, which are not to be changed."""
        ...


@dataclass(frozen=True)
class BuildContext:
    """Arguments of a model's constructor besides its config.

    device: where tables that are computed rather than loaded must be made; parameters are
        created without storage and filled by the loader.
    language_model: builds the text model of a nested config.
    vision_encoder: builds the tower of a `vision_config` that gives the features of the
        layers named. Both raise UnsupportedModelError if no plugin serves the model_type.
    """

    device: torch.device
    dtype: torch.dtype
    kernels: KernelTable
    language_model: Callable[[JsonDict], LanguageModel]
    vision_encoder: Callable[[JsonDict, Sequence[int]], VisionEncoder]
