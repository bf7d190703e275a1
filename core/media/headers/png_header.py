"""PNG: the chunks that make the picture (PNG 1.2 and APNG), without text and later frames."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from ...contracts.specs import ImageSize
from ..pillow_guard import damaged
from ..warn_once import warn_once
from .image_layout import ImageLayout
from .orientation import read_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MAX_CHUNKS = 20_000
_MAX_TEXT_BYTES = _MAX_INFLATED_BYTES = 2**20
#: How ImageMagick kept EXIF before PNG had a chunk for it: hexadecimal text.
_RAW_EXIF = b"Raw profile type exif\0"
_XMP = b"XML:com.adobe.xmp\0\0"  # the second zero: not compressed
_TEXTS = {b"iTXt": _XMP, b"tEXt": _RAW_EXIF, b"zTXt": _RAW_EXIF}
_GREY, _RGB = 0, 2


def read_png(data: bytes) -> ImageLayout:
    """Raises MediaError or struct.error for a broken header."""
    first: dict[bytes, memoryview] = {}
    pixels: list[bytes | memoryview] = []
    for kind, chunk in _chunks(memoryview(data)):
        if kind == b"IDAT":
            pixels.append(chunk)
        elif _is_wanted(kind, chunk, has_pixels=bool(pixels)):
            first.setdefault(kind, chunk)
    if b"IHDR" not in first or len(first[b"IHDR"]) < 25:
        raise damaged("a PNG without its header chunk")
    header = first[b"IHDR"]
    size = ImageSize(*struct.unpack_from(">II", header, 8))
    frames = struct.unpack_from(">I", first[b"acTL"], 8)[0] if b"acTL" in first else 1
    xmp = first[b"iTXt"][8:-4] if b"iTXt" in first else b""
    picture: list[bytes | memoryview] = [SIGNATURE, header]
    if b"iCCP" in first and _has_readable_profile(first[b"iCCP"]):
        picture.append(first[b"iCCP"])
    if b"PLTE" in first:
        picture.append(first[b"PLTE"])
    if b"tRNS" in first:
        picture.append(_scaled_key(first[b"tRNS"], bit_depth=header[16], colour_type=header[17]))
    picture += pixels
    picture += [first[b"IEND"]] if b"IEND" in first else []
    return ImageLayout(size, picture, read_orientation(_read_exif(first), xmp), frames)


def _is_wanted(kind: bytes, chunk: memoryview, has_pixels: bool) -> bool:
    """Texts only with orientation; of the pixels' own chunks, those where they belong."""
    start = _TEXTS.get(kind, b"")
    is_late = has_pixels and kind in (b"PLTE", b"tRNS", b"iCCP")
    return bytes(chunk[8 : 8 + len(start)]) == start and not is_late


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The name of each chunk, and the whole of it."""
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(view):
            return
        length, kind = struct.unpack_from(">I4s", view, position)
        yield kind, view[position : position + 12 + length]
        if kind == b"IEND":
            return
        position += 12 + length
    raise damaged(f"a PNG with more than {_MAX_CHUNKS} chunks")


def _has_readable_profile(chunk: memoryview) -> bool:
    """Pillow would refuse the whole picture otherwise."""
    _name, _, content = bytes(chunk[8:-4]).partition(b"\0")
    readable = content[:1] == b"\0" and _inflate(content[1:]) is not None
    if not readable:
        warn_once("PNG images with a damaged or huge colour profile: shown without it")
    return readable


def _read_exif(first: dict[bytes, memoryview]) -> bytes | memoryview:
    """The EXIF chunk, else that in text: an empty line, "exif", the length, and lines of digits."""
    if b"eXIf" in first:
        return first[b"eXIf"][8:-4]
    kind = next((kind for kind in (b"zTXt", b"tEXt") if kind in first), None)
    if kind is None:
        return b""
    content = bytes(first[kind][8 + len(_RAW_EXIF) : -4][:_MAX_TEXT_BYTES])
    text = (_inflate(content[1:]) or b"") if kind == b"zTXt" else content
    try:
        return bytes.fromhex(b"".join(text.split(b"\n", 3)[3:]).decode())
    except ValueError:
        warn_once("PNG images with damaged EXIF text: taken to be upright")
        return b""


def _inflate(content: bytes) -> bytes | None:
    """None for what is damaged or too large."""
    inflate = zlib.decompressobj()
    try:
        inflated = inflate.decompress(content, _MAX_INFLATED_BYTES)
    except zlib.error:
        return None
    return None if inflate.unconsumed_tail else inflated


def _scaled_key(chunk: memoryview, bit_depth: int, colour_type: int) -> memoryview | bytes:
    """The transparent colour in the 8 bits to which Pillow brings the pixels, but not the key.

    Of 16-bit RGB it keeps the high bytes, so that near colours become transparent too.
    """
    key = bytes(chunk[8:-4])
    if colour_type == _GREY and bit_depth in (2, 4) and len(key) == 2:
        scaled = struct.pack(">H", (key[1] & (2**bit_depth - 1)) * 255 // (2**bit_depth - 1))
    elif colour_type == _RGB and bit_depth == 16 and len(key) == 6:
        scaled = struct.pack(">3H", *key[::2])
    else:
        return chunk
    content = b"tRNS" + scaled
    return struct.pack(">I", len(scaled)) + content + struct.pack(">I", zlib.crc32(content))
