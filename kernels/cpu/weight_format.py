"""Storage formats of packed weights, and which of them takes a weight."""

from __future__ import annotations

from enum import IntEnum

from ..weights import Storage

#: Outputs in a panel, and inputs in a block of it; see src/formats.h.
LANES, BLOCK = 16, 64


class Format(IntEnum):
    """src/formats.h: Format."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2
    INT4_BY_64 = 3
    INT4_BY_32 = 4
    INT8_BY_32 = 5
    INT8_BY_16 = 6
    FLOAT8_BY_64 = 7


#: Inputs that share a scale, of formats that have scales beside those of outputs.
GROUP_INPUTS = {
    Format.INT4_BY_64: 64,
    Format.INT4_BY_32: 32,
    Format.INT8_BY_32: 32,
    Format.INT8_BY_16: 16,
    Format.FLOAT8_BY_64: 64,
}


def format_of(storage: Storage) -> Format | None:
    """What a weight is packed as: groups are as many of a format's own, or one of all inputs. None
    for what the kernels can't take."""
    group, whole = storage.group_size, storage.group_size == storage.in_features
    match storage.format:
        case "float32":
            return Format.FLOAT32
        case "bfloat16":
            return Format.BFLOAT16
        case "int8" if whole and not storage.has_zero:
            return Format.INT8
        case "int8" if whole or group % 32 == 0:
            return Format.INT8_BY_32
        case "int8" if group % 16 == 0 and not storage.has_zero:
            return Format.INT8_BY_16
        case "int4" if whole or group % 64 == 0:
            return Format.INT4_BY_64
        case "int4" if group % 32 == 0:
            return Format.INT4_BY_32
        case "fp8" if (whole or group % 64 == 0) and not storage.has_zero:
            return Format.FLOAT8_BY_64
    return None
