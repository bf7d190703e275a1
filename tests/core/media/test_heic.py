"""HEIC: the primary picture, turned by its boxes, in the colours meant; and without the package."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from image_mutations import linear_profile
from numpy.typing import NDArray
from octavo.core.media.decode import decode_image
from octavo.core.media.headers.image_header import read_header
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image

LIMITS = MediaLimits()
EXACT = {"quality": -1, "subsampling": "4:4:4", "matrix_coefficients": 0}
COLOURS = ("red", "lime", "blue")


def heic(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "HEIF", **{**EXACT, **options})
    return file.getvalue()


def decoded(data: bytes) -> NDArray[Any]:
    return np.asarray(decode_image(data, LIMITS), int)


def noise(height: int, width: int, bands: int = 3) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("primary", [0, 1, 2])
def test_the_primary_picture_of_several(primary: int) -> None:
    first, *others = (Image.new("RGB", (64 + 2 * i, 64), c) for i, c in enumerate(COLOURS))
    data = heic(first, save_all=True, append_images=others, primary_index=primary)
    assert read_header(data, LIMITS).size == (64 + 2 * primary, 64)
    expected = np.asarray(Image.new("RGB", (1, 1), COLOURS[primary]), int)
    assert abs(decoded(data) - expected).max() <= 2


@pytest.mark.parametrize("brands", [b"mif1heic", b"mif1mif1heicmiaf", b"heixmif1", b"heicavif"])
def test_brands(brands: bytes) -> None:
    image = noise(30, 40)
    data = heic(image)
    old = int.from_bytes(data[:4], "big")
    box = b"ftyp" + brands[:4] + bytes(4) + brands[4:]
    # In the room of the old box, as other boxes hold offsets.
    new = (len(box) + 4).to_bytes(4, "big") + box
    if room := old - len(new):
        new += room.to_bytes(4, "big") + b"free"
    data = new + data[len(new) :]
    assert read_header(data, LIMITS).format == "HEIF"
    assert abs(decoded(data) - np.asarray(image, int)).max() <= 2


def test_pixels_of_tiles_profile_and_transparency() -> None:
    image = noise(90, 70)
    plain = decoded(heic(image))
    assert abs(plain - np.asarray(image, int)).max() <= 2
    assert abs(decoded(heic(image, tile_size=64)) - plain).max() <= 2
    swapped = decoded(heic(image, icc_profile=linear_profile("RGB ", swapped=True)))
    light = plain[..., [1, 0, 2]] / 255
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert abs(swapped - srgb).max() <= 3
    clear = noise(64, 64, 4)
    pixels = np.asarray(clear, int)
    cover = pixels[..., 3:] / 255
    assert abs(decoded(heic(clear)) - (pixels[..., :3] * cover + 255 * (1 - cover))).max() <= 4


def test_exif_has_no_say_in_the_orientation() -> None:
    """The standard's boxes have."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = heic(noise(40, 30), exif=exif.tobytes())
    assert read_header(data, LIMITS).size == (40, 30)
    tag = b"\x01\x12\0\3\0\0\0\1\0"
    assert data.count(tag + b"\6") == 1
    lying = data.replace(tag + b"\6", tag + b"\3")
    assert np.array_equal(decoded(lying), decoded(data))


def test_a_picture_of_another_size_than_it_says_is_refused() -> None:
    data = heic(Image.new("RGB", (800, 800)))
    at = data.index(b"ispe") + 8
    small = data[:at] + (64).to_bytes(4, "big") * 2 + data[at + 8 :]
    assert read_header(small, LIMITS).size == (64, 64)
    with pytest.raises(MediaError, match="truncated or damaged") as raised:
        decode_image(small, LIMITS)
    assert "\n" not in str(raised.value)


def test_without_the_package_the_error_says_what_to_install() -> None:
    """In an interpreter of its own, which has none."""
    script = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from octavo.core.media.headers.image_header import FORMATS, read_header\n"
        "from octavo.core.protocol.media_limits import MediaLimits\n"
        "assert 'HEIF' not in FORMATS\n"
        "read_header(sys.stdin.buffer.read(), MediaLimits())"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, input=heic(noise(20, 20)), capture_output=True)
    assert "MediaError: the image is HEIC" in ran.stderr.decode()
    assert "pip install 'octavo[heic]'" in ran.stderr.decode()
