"""HEIC, as phones write it: libheif reads its boxes, by the package pillow-heif if there is one."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import find_spec

from PIL import Image

from ...contracts.specs import ImageSize
from ...protocol.media_error import MediaError
from ..pillow_guard import guarded_pillow
from .heif_boxes import without_metadata
from .image_layout import ImageLayout

IS_SUPPORTED = find_spec("pillow_heif") is not None


def read_heic(data: bytes) -> ImageLayout:
    """Of the primary picture, turned as irot and imir say, which libheif does itself. Raises
    MediaError for a broken header, or without the package."""
    if not IS_SUPPORTED:
        raise MediaError(
            "the image is HEIC (HEIF), which needs a package beside Octavo: pip install "
            "'octavo[heic]'; or save it as JPEG"
        )
    picture = without_metadata(data, "HEIC")
    with guarded_pillow(), open_heic(io.BytesIO(picture)) as image:
        frames = getattr(image, "n_frames", 1)
        return ImageLayout(ImageSize(*image.size), [picture], num_frames=frames)


def open_heic(file: io.BytesIO) -> Image.Image:
    """As `Image.open`, which would know HEIC only if the package were registered with Pillow, for
    the whole process. Raises what Pillow's plugins raise."""
    from pillow_heif import HeifImageFile

    open_it: Callable[[io.BytesIO], Image.Image] = HeifImageFile
    return open_it(file)
