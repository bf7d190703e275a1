"""AVIF: libavif, which Pillow has, reads its boxes."""

from __future__ import annotations

import io

from PIL import Image, features

from ...contracts.specs import ImageSize
from ...protocol.media_error import MediaError
from ..pillow_guard import guarded_pillow
from .heif_boxes import without_metadata
from .image_layout import ImageLayout
from .orientation import read_orientation

#: Whether this Pillow has it.
IS_SUPPORTED = bool(features.check("avif"))


def read_avif(data: bytes) -> ImageLayout:
    """Raises MediaError for a broken header, or if this Pillow has no AVIF."""
    if not IS_SUPPORTED:
        raise MediaError("the image is AVIF, which this Pillow can't read; save it as PNG or JPEG")
    picture = without_metadata(data, "AVIF")
    with guarded_pillow(), Image.open(io.BytesIO(picture), formats=["AVIF"]) as image:
        # Pillow gives irot and imir as EXIF.
        orientation = read_orientation(image.info.get("exif", b""))
        frames = getattr(image, "n_frames", 1)
        return ImageLayout(ImageSize(*image.size), [picture], orientation, frames)
