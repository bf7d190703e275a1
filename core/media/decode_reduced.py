"""Pictures that have more pixels than are taken -> smaller ones, in bounded memory."""

from __future__ import annotations

import itertools
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace

from PIL import Image

from ..contracts.specs import ImageSize
from ..protocol.media_limits import MediaLimits
from .decode import WHITE, load_as, open_picture
from .flatten import Colour, flatten, highest_integer
from .headers.image_header import read_layout
from .headers.orientation import turn_upright
from .pillow_guard import guarded_pillow

#: Above what cameras and scanners for photographs give. Formats that can't be decoded at a smaller
#: size take 4 to 16 bytes of memory for a pixel meanwhile.
HARD_LIMIT = 300_000_000
#: What the decoder of JPEG divides sides by on its own (its discrete cosine transforms).
_JPEG_FACTORS = (2, 4, 8)
_STRIP_PIXELS = 2**20
#: Held by the one that decodes a picture which is too large: two would take twice the memory.
_turn = threading.Lock()


@dataclass(frozen=True)
class ReducedPicture:
    """image: upright, in RGB. size: that of the file's picture, upright."""

    image: Image.Image
    size: ImageSize


def decode_reduced(
    data: bytes | memoryview,
    limits: MediaLimits,
    background: Colour = WHITE,
    hard_limit: int = HARD_LIMIT,
) -> ReducedPicture:
    """As `decode_image`, but a picture with more than `limits.max_pixels` is not refused: its sides
    are divided by the smallest whole number for which it has no more, or a JPEG's by less than
    twice that; each pixel is the mean of those that it stands for.

    Such pictures are decoded one at a time. Raises MediaError as decode_image does, and for one
    with more than hard_limit pixels.
    """
    refused_above = max(limits.max_pixels, hard_limit)
    header, layout = read_layout(bytes(data), replace(limits, max_pixels=refused_above))
    is_large = _factor(layout.size, limits.max_pixels) > 1
    turn = _turn if is_large else nullcontext()
    with turn, guarded_pillow(), open_picture(header, layout) as image:
        if header.format == "JPEG":
            _shrink_jpeg(image, limits.max_pixels)
        size = ImageSize(*image.size)
        load_as(image, size)
        reduced = _reduce(image, _factor(size, limits.max_pixels), background)
    return ReducedPicture(turn_upright(reduced, layout.orientation), header.size)


def _factor(size: ImageSize, max_pixels: int) -> int:
    """The smallest that sides can be divided by for no more pixels."""
    width, height = size
    return next(
        factor
        for factor in itertools.count(1)
        if -(-width // factor) * -(-height // factor) <= max_pixels
    )


def _shrink_jpeg(image: Image.Image, max_pixels: int) -> None:
    """Have the decoder make it smaller."""
    width, height = image.size
    wanted = _factor(ImageSize(width, height), max_pixels)
    if wanted > 1:
        factor = next((f for f in _JPEG_FACTORS if f >= wanted), _JPEG_FACTORS[-1])
        image.draft(None, (max(1, width // factor), max(1, height // factor)))


def _reduce(image: Image.Image, factor: int, background: Colour) -> Image.Image:
    """A loaded image -> RGB with sides divided, in strips, as conversions take several times what
    they convert."""
    width, height = image.size
    white = highest_integer(image)
    reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, _STRIP_PIXELS // (width * factor))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        rgb = flatten(strip, background, white)
        reduced.paste(rgb.reduce(factor) if factor > 1 else rgb, (0, top // factor))
    return reduced
