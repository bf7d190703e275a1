"""JPEG: the segments before the pixels (ITU-T T.81, annex B); of an MPO, the first picture."""

from __future__ import annotations

import re
import struct

from ...contracts.specs import ImageSize
from ..pillow_guard import damaged
from .image_layout import ImageLayout
from .orientation import read_orientation

_MARKER = re.compile(rb"\xff([^\x00\xff])")
#: The end of a scan: no restart, stuffed byte or filling.
_END_OF_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_EOI, _SOS, _APP0, _APP1, _APP2, _APP14, _COM = 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset([0xC2, 0xC6, 0xCA, 0xCE])
#: Markers that Pillow knows to be followed by no segment.
_BARE = frozenset([0x01, 0xC8, *range(0xD0, 0xD9), *range(0xF0, 0xFE)])
_KEPT_APPS = {_APP0: b"JFIF\0", _APP2: b"ICC_PROFILE\0", _APP14: b"Adobe"}
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"

_MAX_SEGMENTS = 4096
_MAX_FILLING = 2**16
#: Encoders write about 10; a file of a few MB could make the decoder pass over the picture for
#: hours.
_MAX_SCANS = 100


def read_jpeg(data: bytes) -> ImageLayout:
    """Raises MediaError or struct.error for a broken header."""
    view = memoryview(data)
    picture: list[bytes | memoryview] = [view[:2]]
    size: ImageSize | None = None
    progressive = False
    exif = xmp = memoryview(b"")
    position = 2
    for _ in range(_MAX_SEGMENTS):
        marker, start = _next_marker(data, position)
        if marker in _BARE:
            position = start + 2
            continue
        position = _end_of_segment(data, start)
        segment = view[start:position]
        content = bytes(segment[4 : 4 + len(_XMP)])
        if marker == _SOS:
            break
        if marker == _APP1 and content.startswith(_EXIF):
            exif = exif or segment[4:]
        elif marker == _APP1 and content == _XMP:
            xmp = xmp or segment[4:]
        elif marker in _FRAMES:
            if size is not None:
                raise damaged("a JPEG with two frame headers")
            height, width = struct.unpack_from(">HH", segment, 5)
            size, progressive = ImageSize(width, height), marker in _PROGRESSIVE
        if _is_kept(marker, content):
            picture.append(segment)
    else:
        raise damaged(f"a JPEG with more than {_MAX_SEGMENTS} segments")
    if size is None:
        raise damaged("a JPEG without a frame header")
    if progressive:
        _check_scans(data, position)
    picture.append(view[start:])
    return ImageLayout(size, picture, read_orientation(exif, xmp))


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """A marker's code, and where it starts."""
    found = _MARKER.search(data, position, position + _MAX_FILLING)
    if found is None or found[1][0] == _EOI:
        raise damaged("a JPEG without pixels")
    return found[1][0], found.end() - 2


def _end_of_segment(data: bytes, start: int) -> int:
    (length,) = struct.unpack_from(">H", data, start + 2)
    end: int = start + 2 + length
    if length < 2 or end > len(data):
        raise damaged("a JPEG segment of a wrong length")
    return end


def _is_kept(marker: int, content: bytes) -> bool:
    is_metadata = _APP0 <= marker < _APP0 + 16 or marker == _COM
    return not is_metadata or content.startswith(_KEPT_APPS.get(marker, b"\0no such"))


def _check_scans(data: bytes, position: int) -> None:
    if data.count(bytes([0xFF, _SOS]), position) < _MAX_SCANS:
        return
    # Those may also be in other segments, or behind the picture.
    scans = 1
    for _ in range(_MAX_SEGMENTS):
        found = _END_OF_SCAN.search(data, position)
        if found is None or found[1][0] == _EOI:
            return
        scans += found[1][0] == _SOS
        if scans > _MAX_SCANS:
            break
        position = found.end()
        if found[1][0] not in _BARE:
            position = _end_of_segment(data, found.end() - 2)
    raise damaged(f"a progressive JPEG with more than {_MAX_SCANS} scans")
