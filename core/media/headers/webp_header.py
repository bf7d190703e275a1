"""WebP: the chunks of its RIFF container (RFC 9649), read before libwebp allocates a canvas."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ...contracts.specs import ImageSize
from ..pillow_guard import damaged
from .image_layout import ImageLayout
from .orientation import read_orientation

_MAX_CHUNKS = 20_000
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04


def read_webp(data: bytes) -> ImageLayout:
    """Raises MediaError or struct.error for a broken header."""
    chunks = _chunks(memoryview(data))
    kind, content = next(chunks, (b"", memoryview(b"")))
    if kind == b"VP8 ":
        return ImageLayout(_lossy_size(content), [data])
    if kind == b"VP8L":
        return ImageLayout(_lossless_size(content), [data])
    if kind != b"VP8X":
        raise damaged("a WebP that starts with none of the chunks VP8, VP8L and VP8X")
    flags, *sides = struct.unpack_from("<B3xHBHB", content)
    size = ImageSize(sides[0] + (sides[1] << 16) + 1, sides[2] + (sides[3] << 16) + 1)
    frames = 0
    exif = xmp = memoryview(b"")
    for kind, content in chunks:
        if kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF" and flags & _EXIF_FLAG:
            exif = exif or content
        elif kind == b"XMP " and flags & _XMP_FLAG:
            xmp = xmp or content
    return ImageLayout(size, [data], read_orientation(exif, xmp), max(frames, 1))


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The name and content of each chunk."""
    (riff_size,) = struct.unpack_from("<4xI", view)
    view = view[: riff_size + 8]
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(view):
            return
        kind, length = struct.unpack_from("<4sI", view, position)
        yield kind, view[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    raise damaged(f"a WebP with more than {_MAX_CHUNKS} chunks")


def _lossy_size(content: memoryview) -> ImageSize:
    """From a key frame's header (RFC 6386, section 9.1); the upper 2 bits are for scaling."""
    if bytes(content[3:6]) != b"\x9d\x01\x2a":
        raise damaged("a WebP whose VP8 chunk holds no key frame")
    width, height = struct.unpack_from("<HH", content, 6)
    return ImageSize(width & 0x3FFF, height & 0x3FFF)


def _lossless_size(content: memoryview) -> ImageSize:
    signature, bits = struct.unpack_from("<BI", content)
    if signature != 0x2F:
        raise damaged("a WebP whose VP8L chunk holds no picture")
    return ImageSize((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
