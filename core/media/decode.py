"""Image bytes -> an upright RGB picture in sRGB, as models take them."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from ..contracts.specs import ImageSize
from ..protocol.media_error import MediaError
from ..protocol.media_limits import MediaLimits
from .colour_profile import to_srgb
from .headers.image_header import read_layout
from .headers.orientation import turn_upright
from .pillow_guard import damaged, guarded_pillow, silence_libtiff

#: To be raised whenever the same bytes would give other pixels.
_VERSION = 1

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

_GREY_MODES = frozenset(["1", "L", "LA", "La"])
_BITS_PER_SAMPLE = 258  # a tag of TIFF


def decode_image(
    data: bytes | memoryview, limits: MediaLimits, background: Colour = WHITE
) -> Image.Image:
    """The first frame, upright, in RGB, what is transparent composed on the background.

    Its size is the one that read_header gives. Raises MediaError as that does, and for pixels
    that can't be decoded.
    """
    header, layout = read_layout(bytes(data), limits)
    if header.format == "TIFF":
        silence_libtiff()
    with guarded_pillow():
        file = io.BytesIO(b"".join(layout.picture))
        with Image.open(file, formats=[header.format]) as image:
            _check_size(image, layout.size)
            image.load()
            _check_size(image, layout.size)
            return turn_upright(_flatten(image, background), layout.orientation)


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
        return turn_upright(_flatten(image, background), orientation)


def decode_fingerprint(background: Colour) -> str:
    """Changes whenever the same bytes would give other pixels; a part of cache keys."""
    return f"rgb{_VERSION}-" + bytes(background).hex()


def _flatten(image: Image.Image, background: Colour) -> Image.Image:
    """A loaded image -> RGB without metadata.

    Colours are converted before they are mixed with the background, which is in sRGB.
    """
    profile = image.info.get("icc_profile")
    image = _in_8_bits(image)
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


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits -> L, or LA if it has a transparent value; others as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(_scaled(values, _highest_integer(image)))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _highest_integer(image: Image.Image) -> int:
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
