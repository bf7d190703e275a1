"""Storage formats of packed weights."""

from enum import IntEnum


class Format(IntEnum):
    """src/weight.h: Format."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2
    INT4 = 3
