"""ctypes structures and function signatures of the compiled library."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_float, c_int32, c_int64, c_void_p
from pathlib import Path

from ..spec import KernelError
from .weight_format import Format

#: src/weight.h: kMaxSegments.
MAX_SEGMENTS = 3


class SegmentStruct(Structure):
    """src/weight.h: Segment."""

    _fields_ = [("data", c_void_p), ("panels", c_int32), ("format", c_int32)]


class WeightStruct(Structure):
    """src/weight.h: Weight."""

    _fields_ = [
        ("segments", SegmentStruct * MAX_SEGMENTS),
        ("scale", c_void_p),
        ("bias", c_void_p),
        ("n", c_int32),
        ("k", c_int32),
        ("num_segments", c_int32),
        ("bf16_activations", c_int32),
    ]


class TuningStruct(Structure):
    """src/tuning.h: Tuning."""

    _fields_ = [("stream_weights", c_int32), ("tile_rows", c_int32 * len(Format))]


class BatchStruct(Structure):
    """src/attention_plan.h: Batch."""

    _fields_ = [
        ("num_tokens", c_int32),
        ("num_seqs", c_int32),
        ("query_start_loc", c_void_p),
        ("seq_lens", c_void_p),
        ("block_table", c_void_p),
        ("slot_mapping", c_void_p),
        ("bidirectional", c_void_p),
        ("table_width", c_int64),
        ("max_blocks", c_int64),
        ("num_blocks", c_int64),
        ("block_stride", c_int64),
        ("row_stride", c_int64),
        ("block_size", c_int32),
        ("cache_type", c_int32),
    ]


class AttentionStruct(Structure):
    """src/attention_plan.h: AttentionShape."""

    _fields_ = [
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("scale", c_float),
        ("softcap", c_float),
        ("window", c_int32),
        ("bf16_products", c_int32),
    ]


class LayerStruct(Structure):
    """src/decoder.cpp: LayerPlan."""

    _fields_ = [
        *((name, WeightStruct) for name in ("qkv", "output", "gate_up", "down")),
        *(
            (name, c_void_p)
            for name in (
                "input_norm",
                "attention_norm",
                "mlp_input_norm",
                "mlp_norm",
                "query_norm",
                "key_norm",
            )
        ),
        ("window", c_int32),
        ("rope", c_int32),
    ]


class DecoderStruct(Structure):
    """src/decoder.cpp: DecoderPlan."""

    _fields_ = [
        *(
            (name, c_int32)
            for name in (
                "layers",
                "hidden",
                "heads",
                "kv_heads",
                "head_dim",
                "intermediate",
                "activation",
            )
        ),
        ("eps", c_float),
        ("scale", c_float),
        ("softcap", c_float),
        ("final_norm", c_void_p),
        ("layer", POINTER(LayerStruct)),
    ]


class StepStruct(Structure):
    """src/decoder.cpp: DecoderStep."""

    _fields_ = [
        ("batch", BatchStruct),
        ("input", c_void_p),
        ("output", c_void_p),
        ("cosine", POINTER(c_void_p)),
        ("sine", POINTER(c_void_p)),
        ("rotary_width", POINTER(c_int32)),
        ("rotary_stride", POINTER(c_int64)),
        ("keys", POINTER(c_void_p)),
        ("values", POINTER(c_void_p)),
        ("output_rows", c_void_p),
        ("num_output_rows", c_int32),
        ("bf16", c_int32),
        ("threads", c_int32),
    ]


class EncoderLayerStruct(Structure):
    """src/encoder.cpp: EncoderLayerPlan."""

    _fields_ = [
        *((name, WeightStruct) for name in ("qkv", "output", "up", "down")),
        *(
            (name, c_void_p)
            for name in (
                "attention_norm",
                "attention_norm_bias",
                "attention_scale",
                "mlp_norm",
                "mlp_norm_bias",
                "mlp_scale",
            )
        ),
    ]


class EncoderStruct(Structure):
    """src/encoder.cpp: EncoderPlan."""

    _fields_ = [
        *((name, c_int32) for name in ("layers", "hidden", "heads", "intermediate", "activation")),
        ("rms_norm", c_int32),
        ("gated", c_int32),
        ("eps", c_float),
        ("layer", POINTER(EncoderLayerStruct)),
    ]


class EncoderStepStruct(Structure):
    """src/encoder.cpp: EncoderStep."""

    _fields_ = [
        ("input", c_void_p),
        ("output", c_void_p),
        ("lengths", POINTER(c_int64)),
        ("cosine", c_void_p),
        ("sine", c_void_p),
        *((name, c_int32) for name in ("runs", "first_layer", "last_layer", "bf16", "threads")),
    ]


_INT, _LONG, _POINTER = c_int32, c_int64, c_void_p
_SIGNATURES = {
    "octavo_tune": (None, [POINTER(TuningStruct)]),
    "octavo_packed_bytes": (_LONG, [_INT, _INT, _INT]),
    "octavo_pack": (None, [_INT, *[_POINTER] * 3, *[_INT] * 5, _POINTER]),
    "octavo_linear": (
        None,
        [POINTER(WeightStruct), _POINTER, _LONG, _INT, _POINTER, _INT, _INT, _INT],
    ),
    "octavo_paged_attention": (
        c_char_p,
        [POINTER(BatchStruct), POINTER(AttentionStruct), *[_POINTER] * 4, _INT, _INT],
    ),
    "octavo_norm": (
        None,
        [*[_POINTER] * 3, c_float, _LONG, _INT, _POINTER, _POINTER, _INT, _INT],
    ),
    "octavo_rotate": (None, [*[_POINTER] * 3, _LONG, *[_INT] * 3, _POINTER, _INT, _INT]),
    "octavo_gate": (None, [_POINTER, _POINTER, _LONG, _INT, _POINTER, _INT, _INT]),
    "octavo_sample": (
        None,
        [_POINTER, _LONG, _LONG, _INT, *[_POINTER] * 5, _INT],
    ),
    "octavo_mask_tokens": (
        None,
        [_POINTER, _LONG, _INT, _POINTER, _LONG, _POINTER, _LONG],
    ),
    "octavo_encode_heads": (None, [_POINTER, _LONG, _INT, _INT, _POINTER, _INT, _INT]),
    "octavo_scatter": (_INT, [_POINTER, _POINTER, *[_LONG] * 6, _POINTER]),
    "octavo_decoder_create": (_POINTER, [POINTER(DecoderStruct)]),
    "octavo_decoder_free": (None, [_POINTER]),
    "octavo_decoder_run": (c_char_p, [_POINTER, POINTER(StepStruct)]),
    "octavo_encoder_create": (_POINTER, [POINTER(EncoderStruct)]),
    "octavo_encoder_free": (None, [_POINTER]),
    "octavo_encoder_run": (None, [_POINTER, POINTER(EncoderStepStruct)]),
}


#: By the name in C++.
_STRUCTURES: dict[str, type[Structure]] = {
    "Segment": SegmentStruct,
    "Weight": WeightStruct,
    "Tuning": TuningStruct,
    "Batch": BatchStruct,
    "AttentionShape": AttentionStruct,
    "LayerPlan": LayerStruct,
    "DecoderPlan": DecoderStruct,
    "DecoderStep": StepStruct,
    "EncoderLayerPlan": EncoderLayerStruct,
    "EncoderPlan": EncoderStruct,
    "EncoderStep": EncoderStepStruct,
}


def open_library(path: Path) -> ctypes.CDLL:
    """A compiled library with its functions' signatures. torch is imported before, so that both
    share one OpenMP runtime. Raises KernelError if it can't be opened, or has other structures."""
    import torch  # noqa: F401

    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:  # says which file it is
        raise KernelError(f"can't load compiled kernels: {error}; delete that file") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    for name, structure in _STRUCTURES.items():
        size, expected = _size_of(library, name), ctypes.sizeof(structure)
        if size != expected:
            raise KernelError(
                f"{path} was compiled from other sources: its {name} takes {size} bytes instead "
                f"of {expected}; delete that file"
            )
    return library


def _size_of(library: ctypes.CDLL, name: str) -> int:
    function = getattr(library, f"octavo_sizeof_{name}")
    function.restype = _LONG
    size: int = function()
    return size
