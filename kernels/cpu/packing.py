"""Packing of linear layers' weights into panels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from ..dtypes import fits_bfloat16
from ..ops import QuantizedWeight
from ..weights import FusedStorage, LinearWeight
from .library import MAX_SEGMENTS, SegmentStruct, WeightStruct
from .load import load_library
from .memory import weight_memory
from .metadata import check_dtype
from .packed_codes import Codes, quantized_codes
from .weight_format import LANES, Format, format_of

_PLAIN = (Format.FLOAT32, Format.BFLOAT16)


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
    """Unpacked weight."""

    codes: Codes
    bias: Tensor | None

    def __len__(self) -> int:
        return len(self.codes.values)


def can_pack(fused: FusedStorage) -> bool:
    """Whether layers with the same input can be packed as one. Plain ones may differ, as they are
    widened; others unless they are interleaved, if the outputs of each are whole panels."""
    parts, formats = fused.parts, [format_of(storage) for storage in fused.parts]
    if any(storage.in_features != parts[0].in_features for storage in parts) or None in formats:
        return False
    if len(set(formats)) == 1 or all(format in _PLAIN for format in formats):
        return True
    panels = all(storage.out_features % LANES == 0 for storage in parts[:-1])
    return panels and not fused.interleaved and len(parts) <= MAX_SEGMENTS


def unpackable(storages: Sequence[FusedStorage]) -> str | None:
    """What the first that `can_pack` refuses is, for the log."""
    odd = next((fused for fused in storages if not can_pack(fused)), None)
    return None if odd is None else str(odd)


def pack(
    weights: Sequence[LinearWeight], dtype: torch.dtype, *, interleave: bool = False
) -> PackedWeight:
    """Layers with the same input as one: their outputs follow one another, or, interleaved,
    sixteen of each in turn.

    dtype: of activations; in bfloat16 they may be rounded to it before a product. float32 values
        that bfloat16 holds exactly are stored so, which changes no result and halves the reading.
    Raises ValueError for layers that `can_pack` refuses, and for float8 that is not a number.
    """
    fused = FusedStorage(tuple(weight.storage for weight in weights), interleave)
    if not can_pack(fused):
        raise ValueError(f"the CPU kernels can't pack {fused} as one")
    pieces = [_Piece(_codes(weight), weight.bias) for weight in weights]
    formats = {piece.codes.format for piece in pieces}
    if len(formats) > 1 and all(format in _PLAIN for format in formats):
        pieces = [_widened(piece) for piece in pieces]
    if not interleave:
        pieces = _joined(pieces)
    elif len({len(piece) for piece in pieces}) > 1:
        raise ValueError("interleaved layers must have the same number of outputs")
    segments, data = _pack(pieces, interleave)
    scale = _by_output(pieces, [piece.codes.output_scale for piece in pieces], interleave)
    bias = _by_output(pieces, [piece.bias for piece in pieces], interleave)
    struct = WeightStruct(
        (SegmentStruct * MAX_SEGMENTS)(*segments),
        _pointer(scale),
        _pointer(bias),
        segments[0].panels * LANES if interleave else sum(map(len, pieces)),
        weights[0].storage.in_features,
        len(segments),
        int(dtype is torch.bfloat16),
    )
    return PackedWeight(data, scale, bias, struct)


def _pack(pieces: Sequence[_Piece], interleave: bool) -> tuple[list[SegmentStruct], Tensor]:
    """Each a segment, or all of them one."""
    library = load_library()
    codes = [piece.codes for piece in pieces]
    sizes = [library.octavo_packed_bytes(c.format, len(c.values), c.inputs) for c in codes]
    data = weight_memory.allocate(sum(sizes))
    segments, end = [], data.data_ptr()
    for i, (c, size) in enumerate(zip(codes, sizes, strict=True)):
        pointers = [_pointer(t) for t in (c.values, c.scale, c.offset)]
        groups = 0 if c.scale is None else c.scale.shape[1]
        place = (len(pieces), i, data.data_ptr()) if interleave else (1, 0, end)
        library.octavo_pack(c.format, *pointers, len(c.values), c.inputs, groups, *place)
        segments.append(SegmentStruct(end, -(-len(c.values) // LANES), c.format))
        end += size
    if interleave:
        panels = sum(segment.panels for segment in segments)
        segments = [SegmentStruct(data.data_ptr(), panels, codes[0].format)]
    return segments, data


def _codes(weight: LinearWeight) -> Codes:
    w = weight.weight
    if isinstance(w, QuantizedWeight):
        format = format_of(weight.storage)
        assert format is not None, "`can_pack` was asked"
        return quantized_codes(w, format)
    w = w.detach()
    if w.dtype is torch.float32 and fits_bfloat16(w):
        w = w.bfloat16()
    kind = Format.BFLOAT16 if w.dtype is torch.bfloat16 else Format.FLOAT32
    return Codes(kind, w.shape[1], w.contiguous())


def _widened(piece: _Piece) -> _Piece:
    codes = piece.codes
    return _Piece(Codes(Format.FLOAT32, codes.inputs, codes.values.float()), piece.bias)


def _joined(pieces: Sequence[_Piece]) -> list[_Piece]:
    """As one for each run of a format."""
    runs = [list(run) for _, run in groupby(pieces, lambda piece: piece.codes.format)]
    return [run[0] if len(run) == 1 else _join(run) for run in runs]


def _join(pieces: Sequence[_Piece]) -> _Piece:
    codes = [piece.codes for piece in pieces]
    biases = [piece.bias for piece in pieces]
    if any(bias is not None for bias in biases):
        biases = [torch.zeros(len(p)) if p.bias is None else p.bias.float() for p in pieces]
    joined = Codes(
        codes[0].format,
        codes[0].inputs,
        torch.cat([c.values for c in codes]),
        _cat([c.scale for c in codes]),
        _cat([c.offset for c in codes]),
        _cat([c.output_scale for c in codes]),
    )
    return _Piece(joined, _cat(biases))


def _cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [t for t in tensors if t is not None]
    return torch.cat(present) if present else None


def _by_output(
    pieces: Sequence[_Piece], values: Sequence[Tensor | None], interleave: bool
) -> Tensor | None:
    """In panels, in the order of the segments' outputs."""
    if interleave or all(v is None for v in values):
        return to_panels(values)
    filled = (torch.zeros(len(p)) if v is None else v for p, v in zip(pieces, values, strict=True))
    return to_panels([torch.cat([v.float() for v in filled])])


def to_panels(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """One value for each output, as many in each tensor -> float32 in panels:
    [panels][tensors][16], padded with zeros."""
    present = [t for t in tensors if t is not None]
    if not present:
        return None
    panels = -(-len(present[0]) // LANES)
    values = torch.zeros(len(tensors), panels * LANES)
    for row, tensor in zip(values, tensors, strict=True):
        if tensor is not None:
            row[: len(tensor)] = tensor
    return values.view(len(tensors), panels, LANES).transpose(0, 1).contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
