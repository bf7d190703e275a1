"""Pictures above the limit, made smaller: the pixels that decoding them whole gives, in little
memory."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from image_mutations import linear_profile, whole_files
from numpy.typing import NDArray
from octavo.core.media import decode_reduced as module
from octavo.core.media.decode import decode_image
from octavo.core.media.decode_reduced import decode_reduced
from octavo.core.media.headers.image_header import FORMATS, read_header
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image

WHOLE = MediaLimits()
SIDE = 10_000


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def smooth(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """As photographs are, and with differences that a mistake would show."""
    small = np.random.default_rng(5).integers(40, 216, (5, 7, 4), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def mean_blocks(image: Image.Image, factor: int) -> NDArray[np.float64]:
    """By numpy; of the whole blocks."""
    pixels = np.asarray(image, float)
    height, width = (side // factor for side in pixels.shape[:2])
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean(axis=(1, 3))


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("factor", [2, 3])
def test_each_pixel_is_the_mean_of_those_it_stands_for(image_format: str, factor: int) -> None:
    data = saved(smooth(197, 131), image_format)
    limit = -(-197 // factor) * -(-131 // factor)
    reduced = decode_reduced(data, MediaLimits(max_pixels=limit))
    assert reduced.size == (197, 131)
    whole = decode_image(data, WHOLE)
    if image_format == "JPEG":
        factor = {2: 2, 3: 4}[factor]
    assert reduced.image.size == (-(-197 // factor), -(-131 // factor))
    expected = mean_blocks(whole, factor)
    height, width = expected.shape[:2]
    difference = abs(np.asarray(reduced.image, float)[:height, :width] - expected)
    # The decoder of JPEG need not spread colours that were stored for two pixels each.
    assert difference.mean() < 1 if image_format == "JPEG" else difference.max() <= 1


@pytest.mark.parametrize("name", [n for n in whole_files() if not n.endswith((".jpeg", ".jpg"))])
def test_colours_transparency_and_orientation_as_ever(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In strips of a few rows; of every mode, with profiles, and turned."""
    monkeypatch.setattr(module, "_STRIP_PIXELS", 300)
    data, background = whole_files()[name], (9, 99, 199)
    whole = decode_image(data, WHOLE, background)
    width, height = whole.size
    same = decode_reduced(data, MediaLimits(max_pixels=width * height), background)
    assert np.array_equal(np.asarray(same.image), np.asarray(whole))
    half = decode_reduced(data, MediaLimits(max_pixels=width * height // 3), background)
    assert half.size == read_header(data, WHOLE).size == (width, height)
    assert half.image.size == (-(-width // 2), -(-height // 2))
    # Blocks at the far edges may be halves, and the file may be turned.
    expected = whole.reduce(2)
    if expected.size == half.image.size and width % 2 == height % 2 == 0:
        assert abs(np.asarray(half.image, int) - np.asarray(expected, int)).max() <= 1


def test_a_profile_and_an_orientation_of_a_jpeg() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif, "icc_profile": linear_profile("RGB ", swapped=True), "quality": 95}
    data = saved(smooth(400, 240), "JPEG", **options)
    reduced = decode_reduced(data, MediaLimits(max_pixels=240 * 400 // 4))
    assert reduced.size == (240, 400)
    assert reduced.image.size == (120, 200)
    expected = mean_blocks(decode_image(data, WHOLE), 2)
    assert abs(np.asarray(reduced.image, float) - expected).mean() < 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_other_kinds(mode: str, progressive: bool) -> None:
    """Divided by 8 by the decoder, and by 2 afterwards."""
    data = saved(smooth(800, 480, mode), "JPEG", progressive=progressive)
    reduced = decode_reduced(data, MediaLimits(max_pixels=50 * 30))
    assert reduced.image.size == (50, 30)
    expected = mean_blocks(decode_image(data, WHOLE), 16)
    assert abs(np.asarray(reduced.image, float) - expected).mean() < 2


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 4001), (9, 9)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_thin_pictures(image_format: str, size: tuple[int, int]) -> None:
    data = saved(smooth(*size), image_format)
    for limit in (1, 10, 77, 4096):
        reduced = decode_reduced(data, MediaLimits(max_pixels=limit))
        width, height = reduced.image.size
        assert 1 <= width * height <= limit
        assert reduced.size == size


def test_limits_that_stay() -> None:
    data = saved(smooth(300, 200), "PNG")
    limits = MediaLimits(max_pixels=1000)
    with pytest.raises(MediaError, match="300 x 200 pixels, more than the 59999 allowed"):
        decode_reduced(data, limits, hard_limit=59_999)
    assert decode_reduced(data, limits, hard_limit=60_000).size == (300, 200)
    assert decode_reduced(data, MediaLimits(max_pixels=60_000), hard_limit=9).size == (300, 200)
    with pytest.raises(MediaError, match="bytes, more than the 10 allowed"):
        decode_reduced(data, MediaLimits(max_pixels=1000, max_bytes=10))
    with pytest.raises(MediaError, match="more than the 50000000 allowed"):
        decode_image(large_png(), WHOLE)


@pytest.mark.parametrize("image_format", FORMATS)
def test_half_a_file(image_format: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), image_format)
    with pytest.raises(MediaError, match="the image is truncated or damaged: "):
        decode_reduced(data[: len(data) // 2], MediaLimits(max_pixels=500))


# -- 100 million pixels


@cache
def large_png() -> bytes:
    """Of rows that are all alike, packed without ever being whole."""
    packer = zlib.compressobj(1)
    row = b"\0" + bytes(x * 256 // SIDE for x in range(SIDE) for _ in range(3))
    rows = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    small = saved(Image.new("RGB", (1, 1)), "PNG")
    header = small[16:29]
    header = SIDE.to_bytes(4, "big") * 2 + header[8:]

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + crc

    return small[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def large_jpeg() -> bytes:
    ramp = Image.frombytes("L", (SIDE, 1), bytes(x * 256 // SIDE for x in range(SIDE)))
    return saved(ramp.resize((SIDE, SIDE)), "JPEG", quality=90)


@pytest.mark.parametrize(("make", "mib"), [(large_jpeg, 60), (large_png, 600)])
def test_memory_of_a_hundred_million_pixels(make: Callable[[], bytes], mib: int) -> None:
    """In a process of its own. A PNG takes 400 MB, and would take three times that if it were
    converted whole; a JPEG is never whole."""
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from octavo.core.media.decode_reduced import decode_reduced\n"
        "from octavo.core.protocol.media_limits import MediaLimits\n"
        "data = sys.stdin.buffer.read()\n"
        # ru_maxrss would also be that of the process which started this one.
        "status = Path('/proc/self/status')\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s*(\\d+) kB', status.read_text())[1])\n"
        "before = peak()\n"
        "reduced = decode_reduced(data, MediaLimits(4_000_000, 2**30))\n"
        "image = reduced.image\n"
        "pixels = [image.getpixel((x * image.width // 8, 40))[1] for x in range(8)]\n"
        "print(*reduced.size, *image.size, peak() - before, *pixels)"
    )
    ran = subprocess.run([sys.executable, "-c", script], input=make(), capture_output=True)
    width, height, *reduced, kib = map(int, (numbers := ran.stdout.split())[:5])
    assert (width, height) == (SIDE, SIDE)
    assert reduced == [SIDE // (8 if make is large_jpeg else 5)] * 2
    assert kib < mib * 1024, kib
    assert [int(n) for n in numbers[5:]] == pytest.approx(range(0, 256, 32), abs=3)
