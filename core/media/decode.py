"""Image bytes -> an upright RGB picture in sRGB, as models take them."""

from __future__ import annotations

import io

from PIL import ExifTags, Image

from ..contracts.specs import ImageSize
from ..protocol.media_limits import MediaLimits
from .flatten import Colour, flatten
from .headers.heic_header import open_heic
from .headers.image_header import ImageHeader, read_layout
from .headers.image_layout import ImageLayout
from .headers.orientation import turn_upright
from .pillow_guard import damaged, guarded_pillow, silence_libtiff

#: To be raised whenever the same bytes would give other pixels.
_VERSION = 1

WHITE: Colour = (255, 255, 255)


def decode_image(
    data: bytes | memoryview, limits: MediaLimits, background: Colour = WHITE
) -> Image.Image:
    """The first frame, upright, in RGB, what is transparent composed on the background.

    Its size is the one that read_header gives. Raises MediaError as that does, and for pixels
    that can't be decoded.
    """
    header, layout = read_layout(bytes(data), limits)
    with guarded_pillow(), open_picture(header, layout) as image:
        load_as(image, layout.size)
        return turn_upright(flatten(image, background), layout.orientation)


def open_picture(header: ImageHeader, layout: ImageLayout) -> Image.Image:
    """What Pillow is to decode of a file, not loaded yet. Raises MediaError, or what Pillow
    raises."""
    if header.format == "TIFF":
        silence_libtiff()
    file = io.BytesIO(b"".join(layout.picture))
    if header.format == "HEIF":
        image = open_heic(file)
    else:
        image = Image.open(file, formats=[header.format])
    _check_size(image, layout.size)
    return image


def load_as(image: Image.Image, size: ImageSize) -> None:
    """Decode it. Raises MediaError for another size, or what Pillow raises."""
    image.load()
    _check_size(image, size)


def _check_size(image: Image.Image, expected: ImageSize) -> None:
    if image.size != expected:
        raise damaged(
            "{} x {} pixels in one place, {} x {} in another".format(*expected, *image.size)
        )


def to_rgb(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """A picture in any of Pillow's modes -> upright, in RGB and sRGB, on the background.

    The picture itself stays as it is. Raises MediaError if it can't be decoded or converted.
    """
    with guarded_pillow():
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return turn_upright(flatten(image, background), orientation)


def decode_fingerprint(background: Colour) -> str:
    """Changes whenever the same bytes would give other pixels; a part of cache keys."""
    return f"rgb{_VERSION}-" + bytes(background).hex()
