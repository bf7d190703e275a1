"""GIF: the logical screen and the first frame (GIF89a), without what stands between them."""

from __future__ import annotations

import struct

from ...contracts.specs import ImageSize
from ..pillow_guard import damaged
from .image_layout import ImageLayout

_EXTENSION, _FRAME, _TRAILER, _GRAPHIC_CONTROL = 0x21, 0x2C, 0x3B, 0xF9
_HAS_COLOUR_TABLE = 0x80
#: Comments and such are read byte by byte.
_MAX_BEFORE_FRAME = 2**17


def read_gif(data: bytes) -> ImageLayout:
    """Raises MediaError or struct.error for a broken header.

    The size is that of the screen, enlarged where the first frame reaches beyond it.
    """
    screen_width, screen_height, flags = struct.unpack_from("<HHB", data, 6)
    start = 13 + _colour_table_bytes(flags)
    control, frame = _find_frame(data[: start + _MAX_BEFORE_FRAME], start)
    left, top, width, height = struct.unpack_from("<4H", data, frame + 1)
    size = ImageSize(max(screen_width, left + width), max(screen_height, top + height))
    view = memoryview(data)
    return ImageLayout(size, [view[:start], control, view[frame:]])


def _colour_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _HAS_COLOUR_TABLE else 0


def _find_frame(head: bytes, position: int) -> tuple[bytes, int]:
    """The graphic control extension before the first frame, and where that starts."""
    control = b""
    while position < len(head) and head[position] != _TRAILER:
        if head[position] == _FRAME:
            return control, position
        if head[position] != _EXTENSION:  # some files have filling
            position += 1
            continue
        end = _end_of_extension(head, position)
        if head[position + 1 : position + 2] == bytes([_GRAPHIC_CONTROL]):
            control = head[position:end]
        position = end
    raise damaged("a GIF without a frame, or with too much before it")


def _end_of_extension(head: bytes, position: int) -> int:
    position += 2
    while position < len(head) and head[position]:
        position += head[position] + 1
    return position + 1
