"""BMP: the size in its bitmap header, of OS/2 or of Windows."""

from __future__ import annotations

import struct

from ...contracts.specs import ImageSize
from .image_layout import ImageLayout

_CORE_HEADER_BYTES = 12


def read_bmp(data: bytes) -> ImageLayout:
    """Raises struct.error for a file that ends too soon. A negative height means top-down rows."""
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    sides = "<HH" if header_bytes == _CORE_HEADER_BYTES else "<ii"
    width, height = struct.unpack_from(sides, data, 18)
    return ImageLayout(ImageSize(width, abs(height)), [data])
