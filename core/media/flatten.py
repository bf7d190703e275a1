"""A decoded picture in any of Pillow's modes -> RGB in sRGB, pixel by pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..protocol.media_error import MediaError
from .colour_profile import to_srgb

Colour = tuple[int, int, int]

_GREY_MODES = frozenset(["1", "L", "LA", "La"])
_BITS_PER_SAMPLE = 258  # a tag of TIFF


def flatten(image: Image.Image, background: Colour, white: int | None = None) -> Image.Image:
    """A loaded image -> RGB without metadata, what is transparent on the background.

    Colours are converted before they are mixed with the background, which is in sRGB.
    white: of integers, as `highest_integer` gives it; needed for a part of an image, which no
        longer tells. Raises MediaError for numbers of which any scale would be a guess.
    """
    profile = image.info.get("icc_profile")
    image = _in_8_bits(image, highest_integer(image) if white is None else white)
    alpha = None
    if _is_transparent(image):
        is_grey = image.mode in _GREY_MODES
        image = image.convert("LA" if is_grey else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if is_grey else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "YCbCr"):
        image = image.convert("RGB")
    rgb = to_srgb(image, profile)
    if alpha is not None:
        rgb.putalpha(alpha)
        canvas = Image.new("RGBA", rgb.size, (*background, 255))
        rgb = Image.alpha_composite(canvas, rgb).convert("RGB")
    rgb.info = {}  # else a later reader would turn it again
    return rgb


def _is_transparent(image: Image.Image) -> bool:
    """Whether it has an alpha channel, plain or premultiplied, or a transparent colour."""
    if image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A"):
        return True
    has_alpha = not {"A", "a"}.isdisjoint(image.getbands())
    return has_alpha or image.info.get("transparency") is not None


def _in_8_bits(image: Image.Image, white: int) -> Image.Image:
    """Grey of 16 or 32 bits -> L, or LA if it has a transparent value; others as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(_scaled(values, white))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def highest_integer(image: Image.Image) -> int:
    """White, in integers. Of 32 bits, only 16 are taken to be used."""
    tags = getattr(image, "tag_v2", {})
    return 2**12 - 1 if tags.get(_BITS_PER_SAMPLE) == (12,) else 2**16 - 1


def _scaled(values: NDArray[np.generic], highest: int) -> NDArray[np.uint8]:
    """Integers from 0 to the highest, or floats from 0 to 1 -> 0 to 255, to the nearest.

    Raises MediaError for other values, of which any scale would be a guess.
    """
    is_float = values.dtype.kind == "f"
    darkest, brightest, white = values.min(), values.max(), 1 if is_float else highest
    if not (darkest >= 0 and brightest <= white):  # also for NaN
        raise MediaError(
            f"the image has pixels of {'floats' if is_float else 'integers'} from {darkest} to "
            f"{brightest}; scale them to 0 to {white}, or save it in 8 bits"
        )
    if is_float:
        return (values * 255).round().astype(np.uint8)
    levels = (np.arange(highest + 1, dtype=np.uint32) * 255 + highest // 2) // highest
    scaled: NDArray[np.uint8] = levels.astype(np.uint8)[values]
    return scaled
