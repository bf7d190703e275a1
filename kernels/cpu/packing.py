"""Packing of linear layers' weights into panels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..dtypes import fits_bfloat16
from ..int4 import pack_int4, unpack_int4
from ..ops import QuantizedWeight
from ..weights import LinearWeight, Storage
from .library import WeightStruct
from .load import load_library
from .memory import weight_memory
from .metadata import check_dtype
from .weight_format import Format

#: Outputs in a panel, and inputs that share a scale; see src/weight.h.
_LANES, _GROUP = 16, 64
_PLAIN = ("float32", "bfloat16")


@dataclass(frozen=True)
class PackedWeight:
    """A weight in panels. Its tensors keep the memory that `struct` points to."""

    data: Tensor
    scale: Tensor | None
    bias: Tensor | None
    struct: WeightStruct

    def tensors(self) -> list[Tensor]:
        """Tensors that own the packed weight."""
        return [t for t in (self.data, self.scale, self.bias) if t is not None]

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        """See `kernels.prepared.PreparedLinear`. Raises ValueError for inputs that don't fit."""
        check_dtype("x", x)
        if x.ndim != 2 or x.shape[1] != self.struct.k:
            raise ValueError(f"x is {list(x.shape)} instead of rows of {self.struct.k} inputs")
        x = x if x.stride(1) == 1 else x.contiguous()
        out = torch.empty(len(x), self.struct.n, dtype=out_dtype or x.dtype)
        if not len(x):
            return out
        load_library().octavo_linear(
            ctypes.byref(self.struct),
            x.data_ptr(),
            x.stride(0),
            len(x),
            out.data_ptr(),
            int(x.dtype is torch.bfloat16),
            int(out.dtype is torch.bfloat16),
            torch.get_num_threads(),
        )
        return out


@dataclass(frozen=True)
class _Piece:
    """Unpacked weight: values [n, …] in the format's own elements, and what belongs to each row."""

    format: Format
    inputs: int
    values: Tensor
    scale: Tensor | None
    zero: Tensor | None
    bias: Tensor | None


def can_pack(storages: Sequence[Storage]) -> bool:
    """Whether layers with the same input can be packed as one. Plain ones may differ: they are
    widened."""
    first = storages[0]
    if any(storage.in_features != first.in_features for storage in storages):
        return False
    if all(storage.format in _PLAIN for storage in storages):
        return True
    kinds = {(storage.format, storage.group_size) for storage in storages}
    return len(kinds) == 1 and _is_known(first)


def unpackable(storages: Sequence[Sequence[Storage]]) -> str | None:
    """What the first that `can_pack` refuses is, for the log."""
    odd = next((together for together in storages if not can_pack(together)), None)
    return None if odd is None else ", ".join(map(str, odd))


def _is_known(storage: Storage) -> bool:
    if storage.format == "int8":
        return not storage.has_zero and storage.group_size == storage.in_features
    return storage.format == "int4" and storage.group_size % _GROUP == 0


def pack(
    weights: Sequence[LinearWeight], dtype: torch.dtype, *, interleave: bool = False
) -> PackedWeight:
    """Layers with the same input as one: their outputs follow one another, or, interleaved,
    sixteen of each in turn.

    dtype: of activations; in bfloat16 they may be rounded to it before a product. float32 values
        that bfloat16 holds exactly are stored so, which changes no result and halves the reading.
    Raises ValueError for layers that `can_pack` refuses.
    """
    storages = [weight.storage for weight in weights]
    if not can_pack(storages):
        raise ValueError(f"the CPU kernels can't pack {', '.join(map(str, storages))} as one")
    pieces = [_piece(weight) for weight in weights]
    if any(p.format != pieces[0].format for p in pieces):
        pieces = [_widened(p) for p in pieces]
    if not interleave:
        pieces = [_join(pieces)]
    elif len({len(p.values) for p in pieces}) > 1:
        raise ValueError("interleaved layers must have the same number of outputs")
    return _pack(pieces, bf16_activations=dtype is torch.bfloat16)


def _pack(pieces: Sequence[_Piece], *, bf16_activations: bool) -> PackedWeight:
    library = load_library()
    first, rows = pieces[0], len(pieces[0].values)
    panels = -(-rows // _LANES)
    size = library.octavo_packed_bytes(first.format, rows, first.inputs)
    data = weight_memory.allocate(size * len(pieces))
    for start, piece in enumerate(pieces):
        pointers = [_pointer(t) for t in (piece.values, piece.scale, piece.zero)]
        place = (rows, first.inputs, len(pieces), start)
        library.octavo_pack(piece.format, *pointers, *place, data.data_ptr())
    scale = to_panels([p.scale for p in pieces]) if first.format is Format.INT8 else None
    bias = to_panels([p.bias for p in pieces])
    struct = WeightStruct(
        data.data_ptr(),
        _pointer(scale),
        _pointer(bias),
        rows if len(pieces) == 1 else panels * _LANES * len(pieces),
        first.inputs,
        first.format,
        int(bf16_activations),
    )
    return PackedWeight(data, scale, bias, struct)


def _piece(weight: LinearWeight) -> _Piece:
    w, bias = weight.weight, weight.bias
    if isinstance(w, QuantizedWeight):
        if w.format == "int8":
            return _Piece(
                Format.INT8, w.in_features, w.data.contiguous(), w.scale[:, 0], None, bias
            )
        zero = torch.zeros_like(w.scale) if w.zero is None else w.zero
        # Larger groups are as many of the kernels' own, which share what they have.
        repeats = w.group_size // _GROUP
        scale, zero = (
            t.to(torch.float16).repeat_interleave(repeats, dim=1).contiguous()
            for t in (w.scale, zero)
        )
        data = w.data.contiguous()
        if repeats > 1:
            data = pack_int4(unpack_int4(data, w.group_size), _GROUP)
        return _Piece(Format.INT4, w.in_features, data, scale, zero, bias)
    w = w.detach()
    if w.dtype is torch.float32 and fits_bfloat16(w):
        w = w.bfloat16()
    kind = Format.BFLOAT16 if w.dtype is torch.bfloat16 else Format.FLOAT32
    return _Piece(kind, w.shape[1], w.contiguous(), None, None, bias)


def _widened(piece: _Piece) -> _Piece:
    return _Piece(Format.FLOAT32, piece.inputs, piece.values.float(), None, None, piece.bias)


def _join(pieces: Sequence[_Piece]) -> _Piece:
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]
    biases = [p.bias for p in pieces]
    if any(bias is not None for bias in biases):
        biases = [torch.zeros(len(p.values)) if p.bias is None else p.bias.float() for p in pieces]
    return _Piece(
        first.format,
        first.inputs,
        torch.cat([p.values for p in pieces]),
        _cat([p.scale for p in pieces]),
        _cat([p.zero for p in pieces]),
        _cat(biases),
    )


def _cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [t for t in tensors if t is not None]
    return torch.cat(present) if present else None


def to_panels(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """One value for each output, as many in each tensor -> float32 in panels:
    [panels][tensors][16], padded with zeros."""
    present = [t for t in tensors if t is not None]
    if not present:
        return None
    panels = -(-len(present[0]) // _LANES)
    values = torch.zeros(len(tensors), panels * _LANES)
    for row, tensor in zip(values, tensors, strict=True):
        if tensor is not None:
            row[: len(tensor)] = tensor
    return values.view(len(tensors), panels, _LANES).transpose(0, 1).contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
