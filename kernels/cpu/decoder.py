"""Decoder in one call: see src/decoder.cpp."""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..ops import AttentionMetadata
from ..prepared import PreparedDecoder
from ..weights import DecoderLayerWeights, DecoderWeights
from .activations import ACTIVATIONS
from .library import DecoderStruct, LayerStruct, StepStruct
from .load import load_library
from .metadata import (
    batch_struct,
    check_caches,
    check_indices,
    check_shape,
    check_tables,
    raise_fault,
)
from .packing import PackedWeight, pack, unpackable

_library = load_library()
_DTYPES = (torch.float32, torch.bfloat16)

_log = logging.getLogger(__name__)


def decoder(weights: DecoderWeights) -> PreparedDecoder | None:
    """See `kernels.prepared.PrepareDecoder`."""
    if weights.activation not in ACTIVATIONS or weights.dtype not in _DTYPES:
        return None
    odd = unpackable(weights.storages)
    if odd is not None:
        _log.info("the decoder runs layer by layer: the CPU kernels can't pack %s as one", odd)
        return None
    return CpuDecoder(weights)


class CpuDecoder:
    """See `kernels.prepared.PreparedDecoder`. Hidden states are float32 within; weights are read
    as they are stored. Raises ValueError for layers whose weights the kernels can't pack."""

    def __init__(self, weights: DecoderWeights) -> None:
        self._dtype = weights.dtype
        self._hidden_size, self._num_layers = weights.hidden_size, weights.num_layers
        self._num_kv_heads, self._head_dim = weights.num_kv_heads, weights.head_dim
        self._packed: list[PackedWeight] = []
        self._norms: list[Tensor] = []
        layers = (LayerStruct * weights.num_layers)()
        for struct, layer in zip(layers, weights.layers, strict=True):
            self._fill(struct, layer)
        self._num_tables = 1 + max(struct.rope for struct in layers)
        plan = DecoderStruct(
            layers=weights.num_layers,
            hidden=weights.hidden_size,
            heads=weights.num_heads,
            kv_heads=weights.num_kv_heads,
            head_dim=weights.head_dim,
            intermediate=weights.intermediate_size,
            activation=ACTIVATIONS[weights.activation],
            eps=weights.norm_eps,
            scale=weights.scale,
            softcap=weights.softcap,
            final_norm=self._keep_norm(weights.final_norm),
            layer=layers,
        )
        self._handle = _library.octavo_decoder_create(ctypes.byref(plan))
        self._kv_cache: Sequence[tuple[Tensor, Tensor]] = ()
        self._keys = self._values = _pointers([])
        weakref.finalize(self, _library.octavo_decoder_free, self._handle)

    def tensors(self) -> list[Tensor]:
        """Tensors that own the packed weights."""
        return [*self._norms, *(t for packed in self._packed for t in packed.tensors())]

    def __call__(
        self,
        embeds: Tensor,
        rotary: Sequence[tuple[Tensor, Tensor]],
        kv_cache: Sequence[tuple[Tensor, Tensor]],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """See `kernels.prepared.PreparedDecoder`. Raises ValueError for what doesn't fit."""
        embeds = embeds.contiguous()
        output = torch.empty_like(embeds)
        if not len(embeds):
            return output
        rows = metadata.output_rows
        check_shape("embeds", embeds, (len(metadata.slot_mapping), self._hidden_size))
        if embeds.dtype is not self._dtype:
            raise ValueError(f"embeds is {embeds.dtype} instead of {self._dtype}")
        if len(rotary) != self._num_tables:
            raise ValueError(f"rotary has {len(rotary)} tables instead of {self._num_tables}")
        for table in rotary:
            check_tables(table, len(embeds), self._head_dim)
        if rows is not None:
            check_indices("output_rows", rows, len(rows))
        if kv_cache is not self._kv_cache:
            self._check_kv_cache(kv_cache)
            self._kv_cache = kv_cache
            self._keys = _pointers([keys for keys, _ in kv_cache])
            self._values = _pointers([values for _, values in kv_cache])
        tables = [(_in_rows(cos), _in_rows(sin)) for cos, sin in rotary]
        step = StepStruct(
            batch=batch_struct(metadata, kv_cache[0][0]),
            input=embeds.data_ptr(),
            output=output.data_ptr(),
            cosine=_pointers([cos for cos, _ in tables]),
            sine=_pointers([sin for _, sin in tables]),
            rotary_width=(ctypes.c_int32 * len(tables))(*(cos.shape[1] for cos, _ in tables)),
            rotary_stride=(ctypes.c_int64 * len(tables))(*(cos.stride(0) for cos, _ in tables)),
            keys=self._keys,
            values=self._values,
            output_rows=None if rows is None else rows.data_ptr(),
            num_output_rows=-1 if rows is None else len(rows),
            bf16=int(self._dtype is torch.bfloat16),
            threads=torch.get_num_threads(),
        )
        raise_fault(_library.octavo_decoder_run(self._handle, ctypes.byref(step)))
        return output

    def _check_kv_cache(self, kv_cache: Sequence[tuple[Tensor, Tensor]]) -> None:
        if len(kv_cache) != self._num_layers:
            raise ValueError(f"kv_cache has {len(kv_cache)} layers instead of {self._num_layers}")
        first = kv_cache[0][0]
        for keys, values in kv_cache:
            check_caches(keys, values, self._num_kv_heads, self._head_dim)
            if (keys.shape, keys.stride(), keys.dtype) != (
                *(first.shape, first.stride(), first.dtype),
            ):
                raise ValueError("kv_cache: layers are not of one shape, strides and dtype")

    def _fill(self, struct: Any, layer: DecoderLayerWeights) -> None:
        struct.qkv = self._pack([layer.query, layer.key, layer.value])
        struct.output = self._pack([layer.output])
        struct.gate_up = self._pack([layer.gate, layer.up], interleave=True)
        struct.down = self._pack([layer.down])
        for name in (
            "input_norm",
            "attention_norm",
            "mlp_input_norm",
            "mlp_norm",
            "query_norm",
            "key_norm",
        ):
            setattr(struct, name, self._keep_norm(getattr(layer, name)))
        struct.window, struct.rope = layer.window, layer.rope

    def _pack(self, weights: Sequence[Any], *, interleave: bool = False) -> Any:
        packed = pack(weights, self._dtype, interleave=interleave)
        self._packed.append(packed)
        return packed.struct

    def _keep_norm(self, norm: Tensor | None) -> int | None:
        if norm is None:
            return None
        self._norms.append(norm.detach().float().contiguous().clone())
        return self._norms[-1].data_ptr()


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))


def _in_rows(table: Tensor) -> Tensor:
    table = table.float()
    return table if table.stride(1) == 1 else table.contiguous()
