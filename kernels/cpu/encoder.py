"""Vision transformer layers in one call: see src/encoder.cpp."""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from ..prepared import PreparedEncoder
from ..weights import EncoderLayerWeights, EncoderWeights, LinearWeight
from .activations import ACTIVATIONS
from .library import (
    EncoderLayerStruct,
    EncoderStepStruct,
    EncoderStruct,
    WeightStruct,
)
from .load import load_library
from .packing import PackedWeight, pack, to_panels, unpackable

_library = load_library()

_log = logging.getLogger(__name__)


def encoder(weights: EncoderWeights) -> PreparedEncoder | None:
    """See `kernels.prepared.PrepareEncoder`."""
    shape = weights.shape
    if shape.activation not in ACTIVATIONS or shape.hidden_size % shape.num_heads:
        return None
    odd = unpackable(weights.storages)
    if odd is not None:
        _log.info("a tower runs layer by layer: the CPU kernels can't pack %s as one", odd)
        return None
    return CpuEncoder(weights)


class CpuEncoder:
    """See `kernels.prepared.PreparedEncoder`. Hidden states are float32 within; weights are read as
    they are stored."""

    def __init__(self, weights: EncoderWeights) -> None:
        self._dtype = weights.dtype
        self._head_dim = weights.shape.hidden_size // weights.shape.num_heads
        self._packed: list[PackedWeight] = []
        self._vectors: list[Tensor] = []
        layers = (EncoderLayerStruct * weights.num_layers)()
        gated = False
        for struct, layer in zip(layers, weights.layers, strict=True):
            gated = layer.gate is not None
            self._take(struct, layer)
        shape = weights.shape
        plan = EncoderStruct(
            layers=weights.num_layers,
            hidden=shape.hidden_size,
            heads=shape.num_heads,
            intermediate=shape.intermediate_size,
            activation=ACTIVATIONS[shape.activation],
            rms_norm=int(shape.rms_norm),
            gated=int(gated),
            eps=shape.norm_eps,
            layer=layers,
        )
        self._handle = _library.octavo_encoder_create(ctypes.byref(plan))
        weakref.finalize(self, _library.octavo_encoder_free, self._handle)

    def tensors(self) -> list[Tensor]:
        """Tensors that own the packed weights."""
        return [*self._vectors, *(t for packed in self._packed for t in packed.tensors())]

    def __call__(
        self,
        x: Tensor,
        lengths: Sequence[int],
        first: int,
        last: int,
        rotary: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """See `kernels.prepared.PreparedEncoder`.

        Raises ValueError for lengths or tables that don't fit the rows of x.
        """
        _check_lengths(lengths, len(x))
        if rotary is not None:
            _check_tables(rotary, (len(x), self._head_dim))
        x = x.contiguous()
        output = torch.empty_like(x)
        if not len(x):
            return output
        cosine, sine = (t.float().contiguous() for t in rotary) if rotary else (None, None)
        step = EncoderStepStruct(
            input=x.data_ptr(),
            output=output.data_ptr(),
            lengths=(ctypes.c_int64 * len(lengths))(*lengths),
            cosine=None if cosine is None else cosine.data_ptr(),
            sine=None if sine is None else sine.data_ptr(),
            runs=len(lengths),
            first_layer=first,
            last_layer=last,
            bf16=int(x.dtype is torch.bfloat16),
            threads=torch.get_num_threads(),
        )
        _library.octavo_encoder_run(self._handle, ctypes.byref(step))
        return output

    def _take(self, struct: EncoderLayerStruct, layer: EncoderLayerWeights) -> None:
        up = (layer.up,) if layer.gate is None else (layer.gate, layer.up)
        struct.qkv = self._pack(layer.qkv)
        struct.output = self._pack((layer.output,))
        struct.up = self._pack(up, interleave=len(up) > 1)
        struct.down = self._pack((layer.down,))
        struct.attention_norm, struct.attention_norm_bias = map(self._keep, layer.attention_norm)
        struct.mlp_norm, struct.mlp_norm_bias = map(self._keep, layer.mlp_norm)
        struct.attention_scale = self._keep(layer.attention_scale)
        struct.mlp_scale = self._keep(layer.mlp_scale)

    def _pack(self, weights: Sequence[LinearWeight], *, interleave: bool = False) -> WeightStruct:
        self._packed.append(pack(weights, self._dtype, interleave=interleave))
        return self._packed[-1].struct

    def _keep(self, vector: Tensor | None) -> int | None:
        """The address of its values, as `to_panels` gives them."""
        panels = to_panels([vector])
        if panels is None:
            return None
        self._vectors.append(panels)
        return panels.data_ptr()


def _check_lengths(lengths: Sequence[int], rows: int) -> None:
    if min(lengths, default=0) < 0:
        raise ValueError(f"lengths: a run of {min(lengths)} tokens")
    if sum(lengths) != rows:
        raise ValueError(f"lengths: runs of {sum(lengths)} tokens in all, but x has {rows} rows")


def _check_tables(rotary: tuple[Tensor, Tensor], shape: tuple[int, int]) -> None:
    for name, table in zip(("cos", "sin"), rotary, strict=True):
        if table.shape != shape:
            raise ValueError(f"rotary: {name} is {list(table.shape)} instead of {list(shape)}")
