"""AVIF: libavif reads its boxes; what it must not see is taken out before."""

from __future__ import annotations

import io
import re

from PIL import Image, features

from ...contracts.specs import ImageSize
from ...protocol.media_error import MediaError
from ..pillow_guard import damaged, guarded_pillow
from .image_layout import ImageLayout
from .orientation import read_orientation

#: Whether this Pillow has it.
IS_SUPPORTED = bool(features.check("avif"))

_BRANDS = frozenset([b"avif", b"avis", b"mif1", b"msf1"])
#: An item information entry (ISO/IEC 14496-12, 8.11.6) that announces an EXIF block.
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{5,7}..)Exif", re.DOTALL)
#: The sample sizes of a track (8.7.3.2): one for all, and how many.
_SAMPLE_SIZES = re.compile(rb"stsz\0{4}.{4}(.{4})", re.DOTALL)
#: More than a large picture has tiles and tracks.
_MAX_BOXES = {b"infe": 4096, b"stsz": 64}
#: libavif makes a table of them, up to hundreds of MB.
_MAX_SAMPLES = 2**16


def is_avif(data: bytes) -> bool:
    """Whether it starts as AVIF does; HEIC may do so too."""
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS


def read_avif(data: bytes) -> ImageLayout:
    """Raises MediaError for a broken header.

    The orientation is in the boxes irot and imir, which Pillow gives as EXIF; an EXIF block of
    the file's own has no say in it, but Pillow would copy all its tags.
    """
    for box, limit in _MAX_BOXES.items():
        if data.count(box) > limit:
            raise damaged(f"an AVIF with more than {limit} boxes of type {box.decode()}")
    for found in _SAMPLE_SIZES.finditer(data):
        samples = int.from_bytes(found[1], "big")
        if samples > _MAX_SAMPLES:
            raise MediaError(f"the AVIF sequence has {samples} frames; send a single picture")
    picture = _EXIF_ITEM.sub(rb"\1skip", data)
    with guarded_pillow(), Image.open(io.BytesIO(picture), formats=["AVIF"]) as image:
        orientation = read_orientation(image.info.get("exif", b""))
        frames = getattr(image, "n_frames", 1)
        return ImageLayout(ImageSize(*image.size), [picture], orientation, frames)
