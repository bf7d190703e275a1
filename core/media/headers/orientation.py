"""Which way up a picture is: the orientation in EXIF or XMP metadata."""

from __future__ import annotations

import re
import struct

from PIL import Image

from ..warn_once import warn_once
from .tiff_ifd import Ifd, read_ifd

_TAG = 0x0112
#: Of metadata; orientation is near the start.
_MAX_BYTES = 2**20
_UNREADABLE = "unreadable EXIF metadata: such images are taken to be upright"
_XMP = re.compile(rb"""tiff:Orientation(?:=["']|>)([1-8])""")
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(exif: bytes | memoryview, xmp: bytes | memoryview = b"") -> int:
    """1 to 8: that of the EXIF block if it has one, else that of the XMP packet, else 1."""
    orientation = _in_exif(bytes(exif[:_MAX_BYTES])) if exif else None
    if orientation is None:
        found = _XMP.search(bytes(xmp[:_MAX_BYTES]))
        orientation = int(found[1]) if found else 1
    return orientation if orientation in _TRANSPOSE else 1


def swaps_sides(orientation: int) -> bool:
    """Whether width and height trade places."""
    return orientation in (5, 6, 7, 8)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image as it is to be seen; itself if it already is."""
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def orientation_in(ifd: Ifd, data: bytes) -> int | None:
    """That of a directory, of whatever type of number, as in Pillow; data: its file."""
    try:
        number = ifd.number(_TAG, data)
    except struct.error:
        warn_once(_UNREADABLE)
        return None
    if number is None:
        return None
    return int(number) if number in _TRANSPOSE else 1


def _in_exif(exif: bytes) -> int | None:
    prefix = b"Exif\0\0"
    data = exif.removeprefix(prefix).removeprefix(prefix)
    try:
        ifd = read_ifd(data)
    except (ValueError, struct.error):
        warn_once(_UNREADABLE)
        return None
    return orientation_in(ifd, data)
