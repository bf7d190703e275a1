"""Image bytes -> checked header -> RGB pixels, with an error that a caller can act on."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class MediaError(ValueError):
    """An image that can't be used, and why."""


def media_key(data: bytes) -> str:
    """SHA-256 of an image's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def picture_key(image: Image.Image) -> str:
    """The key of a decoded picture, by its mode, size and pixels."""
    header = f"pixels:{image.mode}:{image.width}x{image.height}:".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()


def read_data_url(url: str) -> bytes:
    """The bytes of a base64 `data:` URL. Raises MediaError."""
    header, comma, payload = url.partition(",")
    if not header.startswith("data:") or not comma:
        raise MediaError("expected a data: URL such as data:image/png;base64,…")
    if not header.endswith(";base64"):
        raise MediaError("the data: URL must be base64-encoded (data:image/png;base64,…)")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(f"the data: URL holds no valid base64: {error}") from error


def decode_image(data: bytes, max_pixels: int) -> Image.Image:
    """An RGB picture, upright, transparency composed on white. Raises MediaError.

    The size is checked in the header, before any pixel is decoded.
    """
    try:
        with warnings.catch_warnings():
            # max_pixels is the limit here, not Pillow's own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise MediaError(f"not an image in a known format ({', '.join(FORMATS)})") from error
    if image.width * image.height > max_pixels:
        raise MediaError(
            f"the image has {image.width} x {image.height} pixels, more than the {max_pixels} "
            "allowed; send a smaller one"
        )
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise MediaError(f"the image is truncated or damaged: {error}") from error
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright and in RGB; what is transparent becomes white, as in transformers."""
    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
