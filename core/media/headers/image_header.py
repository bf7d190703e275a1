"""Image bytes -> format and upright size, checked against the limits before decoding."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ...contracts.specs import ImageSize
from ...protocol.media_error import MediaError
from ...protocol.media_limits import MediaLimits
from ..pillow_guard import damaged
from .avif_header import IS_SUPPORTED as HAS_AVIF
from .avif_header import read_avif
from .bmp_header import read_bmp
from .gif_header import read_gif
from .heic_header import IS_SUPPORTED as HAS_HEIC
from .heic_header import read_heic
from .heif_boxes import heif_format
from .image_layout import ImageLayout
from .jpeg_header import read_jpeg
from .orientation import swaps_sides
from .png_header import SIGNATURE as PNG_SIGNATURE
from .png_header import read_png
from .tiff_header import read_tiff
from .webp_header import read_webp

_READERS: dict[str, Callable[[bytes], ImageLayout]] = {
    "JPEG": read_jpeg,
    "PNG": read_png,
    "WEBP": read_webp,
    "GIF": read_gif,
    "BMP": read_bmp,
    "TIFF": read_tiff,
    "AVIF": read_avif,
    "HEIF": read_heic,
}
#: Where a package that is missing brings a format's reader.
_IS_SUPPORTED = {"AVIF": HAS_AVIF, "HEIF": HAS_HEIC}
#: Those that can be read, under Pillow's names.
FORMATS = tuple(name for name in _READERS if _IS_SUPPORTED.get(name, True))

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    PNG_SIGNATURE: "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II\x2a\0": "TIFF",
    b"MM\0\x2a": "TIFF",
    b"II\x2b\0": "TIFF",
    b"MM\0\x2b": "TIFF",
}


@dataclass(frozen=True)
class ImageHeader:
    """size: upright, after EXIF orientation. format: one of FORMATS."""

    size: ImageSize
    format: str


def read_header(data: bytes | memoryview, limits: MediaLimits) -> ImageHeader:
    """The header of an image that keeps to the limits.

    Raises MediaError for too many bytes, pixels or frames, for what is no image of a known
    format, and for a broken header.
    """
    return read_layout(bytes(data), limits)[0]


def read_layout(data: bytes, limits: MediaLimits) -> tuple[ImageHeader, ImageLayout]:
    """The header and where the picture is. Raises MediaError as read_header does."""
    check_file_size(len(data), limits)
    image_format = _recognise(data)
    if image_format is None:
        raise MediaError(f"not an image in a known format ({', '.join(FORMATS)})")
    try:
        layout = _READERS[image_format](data)
    except MediaError:
        raise
    except struct.error as error:
        raise damaged(f"the {image_format} header ends too soon") from error
    except ValueError as error:
        raise damaged(f"the {image_format} header can't be read: {error}") from error
    check_size(layout.size, limits)
    if layout.num_frames > limits.max_frames:
        raise MediaError(
            f"the animation has {layout.num_frames} frames, more than the {limits.max_frames} "
            "allowed; send a single picture"
        )
    width, height = layout.size
    upright = ImageSize(height, width) if swaps_sides(layout.orientation) else layout.size
    return ImageHeader(upright, image_format), layout


def check_file_size(num_bytes: int, limits: MediaLimits) -> None:
    """Raises MediaError for a file with too many bytes."""
    if num_bytes > limits.max_bytes:
        raise MediaError(
            f"the image file has {num_bytes} bytes, more than the {limits.max_bytes} allowed; "
            "send a smaller one"
        )


def check_size(size: ImageSize, limits: MediaLimits) -> None:
    """Raises MediaError for a picture without pixels, or with too many."""
    width, height = size
    if width < 1 or height < 1:
        raise damaged(f"its size is {width} x {height} pixels")
    if width * height > limits.max_pixels:
        raise MediaError(
            f"the image has {width} x {height} pixels, more than the {limits.max_pixels} "
            "allowed; send a smaller one"
        )


def _recognise(data: bytes) -> str | None:
    for signature, image_format in _SIGNATURES.items():
        if data.startswith(signature):
            return image_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return heif_format(data)
