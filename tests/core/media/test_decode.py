"""Pixels as the formats' and colour spaces' definitions give them."""

from __future__ import annotations

import colorsys
import contextlib
import io
import logging
import struct
import threading
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_mutations import KEEPS_YCBCR, linear_profile
from numpy.typing import NDArray
from octavo.core.media.decode import decode_fingerprint, decode_image, to_rgb
from octavo.core.media.headers.image_header import FORMATS
from octavo.core.media.warn_once import warn_once
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image, ImageCms

LIMITS = MediaLimits()
Array = NDArray[Any]


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def decoded(data: bytes, background: tuple[int, int, int] = (255, 255, 255)) -> Array:
    return np.asarray(decode_image(data, LIMITS, background), int)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def png(depth: int, colour_type: int, rows: list[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    width = len(rows[0]) * 8 // depth // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in parts
    )


def to_srgb_curve(light: Array) -> Array:
    """IEC 61966-2-1; 0 to 1 -> 0 to 255."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def today(image: Image.Image) -> Array:
    """Composed on white by Pillow, as transformers does."""
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))


# -- orientation

#: How a camera stores an upright picture: where its first row and column lie (EXIF 2.32, 4.6.5).
STORED = {
    1: lambda u: u,
    2: lambda u: u[:, ::-1],
    3: lambda u: u[::-1, ::-1],
    4: lambda u: u[::-1],
    5: lambda u: u.transpose(1, 0, 2),
    6: lambda u: u[:, ::-1].transpose(1, 0, 2),
    7: lambda u: u[::-1, ::-1].transpose(1, 0, 2),
    8: lambda u: u[::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "MPO"])
def test_orientation(image_format: str, orientation: int) -> None:
    if image_format == "AVIF" and "AVIF" not in FORMATS:
        pytest.skip("this Pillow has no AVIF")
    upright = np.kron(noise(2, 3, 3) // 2 + 60, np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    full = {"quality": 100, "subsampling": "4:4:4"}
    lossless = {"WEBP": {"lossless": True}, "AVIF": full, "HEIF": full}
    options = lossless.get(image_format, {} if image_format in ("PNG", "TIFF") else {"quality": 99})
    data = saved(stored, image_format, exif=exif.tobytes(), **options)
    assert abs(decoded(data) - upright).mean() < (3 if "quality" in options else 1e-9)
    with Image.open(io.BytesIO(data)) as image:
        picture = to_rgb(image)
    assert np.array_equal(np.asarray(picture), decoded(data))
    assert np.array_equal(np.asarray(to_rgb(picture)), decoded(data))  # not turned again


@pytest.mark.parametrize("kind", ["eXIf after", "raw text", "XMP"])
def test_orientation_elsewhere_in_a_png(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    raw = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    extra = {
        "eXIf after": (b"eXIf", block[6:]),
        "raw text": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>"),
    }[kind]
    data = png(8, 0, [b"\1\2\3"], *([extra] if kind != "eXIf after" else []))
    if kind == "eXIf after":
        part = struct.pack(">I", len(extra[1])) + extra[0] + extra[1]
        data = data[:-12] + part + struct.pack(">I", zlib.crc32(part[4:])) + data[-12:]
    assert decoded(data)[:, 0, 0].tolist() == [1, 2, 3]


def test_damaged_exif_means_upright(caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    data = saved(Image.new("RGB", (5, 3)), "JPEG", exif=b"Exif\0\0nonsense")
    assert decoded(data).shape == decoded(data).shape == (3, 5, 3)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


# -- transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "RGB", "CMYK", "P", "1", "PA"])
def test_eight_bits_stay_what_they_were(mode: str) -> None:
    rgba = Image.fromarray(noise(20, 30, 4))
    image = rgba if mode == "RGBA" else rgba.convert("LA" if mode == "PA" else "RGB").convert(mode)
    if mode == "LA":
        image.putalpha(rgba.getchannel("A"))
    expected = today(image) if mode in ("RGBA", "LA", "PA") else np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(to_rgb(image)), expected)
    image_format = {"CMYK": "TIFF", "PA": "TIFF"}.get(mode, "PNG")
    assert np.array_equal(decoded(saved(image, image_format)), expected)


@pytest.mark.parametrize("transparency", [7, bytes(range(0, 250, 5))])
def test_transparent_palette(transparency: int | bytes) -> None:
    image = Image.fromarray(noise(20, 30, 3)).quantize(50)
    with Image.open(io.BytesIO(saved(image, "PNG", transparency=transparency))) as again:
        expected = today(again)
    data = saved(image, "PNG", transparency=transparency)
    assert np.array_equal(decoded(data), expected)
    alpha = np.full(50, 255) if isinstance(transparency, int) else np.frombuffer(transparency, "B")
    if isinstance(transparency, int):
        alpha[transparency] = 0
    palette = np.array(image.getpalette()).reshape(-1, 3)[np.asarray(image)]
    cover = alpha[np.asarray(image)][..., None] / 255
    assert (
        abs(
            decoded(data, (10, 200, 90)) - (palette * cover + np.array([10, 200, 90]) * (1 - cover))
        ).max()
        <= 1
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La"])
def test_background(mode: str) -> None:
    rgba = noise(20, 30, 4).astype(int)
    rgba[..., 3] |= 0x80  # where premultiplied colours are still precise
    if mode in ("LA", "La"):
        rgba[..., :3] = rgba[..., :1]
    straight = Image.fromarray(rgba.astype(np.uint8))
    image = straight.convert("LA").convert(mode) if mode in ("LA", "La") else straight.convert(mode)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + np.array([0, 80, 255]) * (1 - alpha)
    assert abs(np.asarray(to_rgb(image, (0, 80, 255)), int) - expected).max() <= 2


KEYS = [
    (2, 0, [b"\x1b"], struct.pack(">H", 2), [0, 85, None, 255]),
    (4, 0, [b"\x3f"], struct.pack(">H", 15), [51, None]),
    (8, 0, [b"\x07\x08"], struct.pack(">H", 7), [None, 8]),
    (16, 0, [b"\x01\x01\x01\x02"], struct.pack(">H", 0x0101), [None, 1]),
    (1, 0, [b"\x80"], struct.pack(">H", 1), [None, 0, 0, 0, 0, 0, 0, 0]),
]


@pytest.mark.parametrize(("depth", "colour_type", "rows", "key", "greys"), KEYS)
def test_transparent_grey(
    depth: int, colour_type: int, rows: list[bytes], key: bytes, greys: list[int | None]
) -> None:
    data = png(depth, colour_type, rows, (b"tRNS", key))
    background = (9, 99, 199)
    expected = [background if grey is None else (grey,) * 3 for grey in greys]
    assert decoded(data, background)[0].tolist() == [list(colour) for colour in expected]


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_rgb(depth: int) -> None:
    pixels = [(1, 2, 3), (1, 2, 4), (255, 0, 128)]
    row = b"".join(bytes([v] if depth == 8 else [v, v]) for pixel in pixels for v in pixel)
    key = struct.pack(">3H", *(v if depth == 8 else v * 257 for v in pixels[0]))
    data = png(depth, 2, [row], (b"tRNS", key))
    assert decoded(data, (9, 99, 199))[0].tolist() == [[9, 99, 199], [1, 2, 4], [255, 0, 128]]


# -- other depths and colour spaces


def test_sixteen_bits_are_scaled() -> None:
    values = np.array([[0, 128, 129, 257, 1000, 32768, 65535]], np.uint16)
    expected = np.round(values / 257).astype(int)
    image = Image.fromarray(values)
    for data in (
        saved(image, "PNG"),
        saved(image, "TIFF"),
        saved(image, "TIFF", compression="tiff_lzw"),
    ):
        assert np.array_equal(decoded(data)[..., 0], expected)
    big_endian = Image.frombytes("I;16B", (7, 1), values.byteswap().tobytes())
    for picture in (image, big_endian, Image.fromarray(values.astype(np.int32))):
        assert np.array_equal(np.asarray(to_rgb(picture), int)[..., 2], expected)


def test_sixteen_bit_rgb() -> None:
    values = [0, 255, 256, 40000, 65535, 513]
    data = png(16, 2, [struct.pack(">6H", *values)])
    assert decoded(data).ravel().tolist() == [v >> 8 for v in values]


def test_twelve_bits() -> None:
    """0x000, 0xfff and 0x800, packed; a TIFF that Pillow can't write."""
    tags = [
        (256, 3),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 122),
        (277, 1),
        (278, 1),
        (279, 5),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert decoded(header + b"\x00\x0f\xff\x80\x00")[0, :, 0].tolist() == [0, 255, 128]


def test_floats() -> None:
    values = np.array([[0, 0.25, 0.5, 1]], np.float32)
    assert decoded(saved(Image.fromarray(values), "TIFF"))[0, :, 1].tolist() == [0, 64, 128, 255]
    for bad in (-0.1, 1.5, np.nan, np.inf):
        values[0, 1] = bad
        with pytest.raises(MediaError, match="scale them to 0 to 1, or save it in 8 bits"):
            decode_image(saved(Image.fromarray(values), "TIFF"), LIMITS)


@pytest.mark.parametrize("bad", [-1, 65536])
def test_integers_beyond_16_bits(bad: int) -> None:
    image = Image.fromarray(np.array([[5, bad]], np.int32))
    with pytest.raises(MediaError, match="scale them to 0 to 65535"):
        to_rgb(image)


def test_colour_spaces() -> None:
    lab = Image.new("LAB", (2, 2), (128, 128, 128))  # L* = 50.2
    light = ((50.2 + 16) / 116) ** 3
    assert abs(decoded(saved(lab, "TIFF")) - to_srgb_curve(np.array(light))).max() <= 1
    hsv = Image.new("HSV", (2, 2), (170, 200, 100))
    expected = np.array(colorsys.hsv_to_rgb(170 / 255, 200 / 255, 100 / 255)) * 255
    assert abs(np.asarray(to_rgb(hsv), int) - expected).max() <= 2


@pytest.mark.skipif(not KEEPS_YCBCR, reason="this Pillow can't read the YCbCr that it writes")
def test_ycbcr() -> None:
    ycc = Image.new("YCbCr", (2, 2), (100, 90, 160))
    expected = np.array([100 + 1.402 * 32, 100 + 0.344136 * 38 - 0.714136 * 32, 100 - 1.772 * 38])
    assert abs(decoded(saved(ycc, "TIFF")) - expected).max() <= 1


def test_inverted_jpegs() -> None:
    """Adobe stores 255 - ink; with transform 2, that of cyan, magenta and yellow as YCbCr."""
    cmyk = np.array([20, 120, 200, 60])
    data = saved(Image.new("CMYK", (16, 16), tuple(cmyk)), "JPEG", quality=100)
    assert abs(decoded(data) - (255 - cmyk[:3]) * (255 - cmyk[3]) / 255).max() <= 2
    stored = np.array([200, 128, 160, 255])  # Y, Cb, Cr, and 255 - black
    data = saved(Image.new("CMYK", (16, 16), tuple(255 - stored)), "JPEG", quality=100)
    marker = data.index(b"Adobe")
    ycck = data[: marker + 11] + b"\2" + data[marker + 12 :]
    ink = np.array([200 + 1.402 * 32, 200 - 0.714136 * 32, 200])
    assert abs(decoded(ycck) - (255 - ink)).max() <= 2


# -- colour profiles


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("swapped", [False, True])
def test_rgb_profile(image_format: str, swapped: bool) -> None:
    array = noise(20, 30, 3)
    profile = linear_profile("RGB ", swapped)
    data = saved(Image.fromarray(array), image_format, icc_profile=profile, lossless=True)
    expected = to_srgb_curve(array / 255)[..., [1, 0, 2] if swapped else [0, 1, 2]]
    assert abs(decoded(data) - expected).max() <= 1


def test_grey_profile() -> None:
    array = np.arange(256, dtype=np.uint8)[None]
    data = saved(Image.fromarray(array), "PNG", icc_profile=linear_profile("GRAY"))
    assert abs(decoded(data) - to_srgb_curve(array / 255)[..., None]).max() <= 1


def test_colours_are_converted_before_they_are_mixed() -> None:
    rgba = noise(20, 30, 4)
    data = saved(Image.fromarray(rgba), "PNG", icc_profile=linear_profile("RGB "))
    alpha = rgba[..., 3:] / 255
    expected = to_srgb_curve(rgba[..., :3] / 255) * alpha + 40 * (1 - alpha)
    assert abs(decoded(data, (40, 40, 40)) - expected).max() <= 1.5


def test_profile_of_a_palette() -> None:
    image = Image.fromarray(noise(20, 30, 3)).quantize(60)
    data = saved(image, "PNG", icc_profile=linear_profile("RGB "), transparency=5)
    expected = to_srgb_curve(np.asarray(image.convert("RGB")) / 255)
    expected[np.asarray(image) == 5] = 255
    assert abs(decoded(data) - expected).max() <= 1


def cmyk_profile() -> bytes:
    """An 8-bit table (ICC.1:2001-04, 6.5.7) of a printer of which only the cyan ink is black."""
    identity = bytes(range(256))
    nodes = b"".join(bytes([0 if node & 8 else 255, 128, 128]) for node in range(16))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + struct.pack(">4xBBBx", 4, 3, 2) + matrix + identity * 4 + nodes + identity * 3
    white = b"XYZ " + struct.pack(">4x3i", 63190, 65536, 54061)
    offsets = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"A2B0", 176, len(table))
    size = 176 + len(table)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    return (header.ljust(68, b"\0") + white[8:]).ljust(128, b"\0") + offsets + white + table


def test_cmyk_profile_on_cmyk() -> None:
    inks = [(0, 200, 100, 255), (128, 0, 0, 0), (255, 3, 3, 3)]
    image = Image.new("CMYK", (3, 1))
    image.putdata(inks)
    data = saved(image, "TIFF", icc_profile=cmyk_profile())
    lightness = np.array([100 * (1 - cyan / 255) for cyan, *_ in inks])
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    assert abs(decoded(data)[0] - to_srgb_curve(light)[:, None]).max() <= 2


def test_srgb_profile_changes_nothing() -> None:
    image = Image.fromarray(noise(20, 30, 3))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(decoded(saved(image, "PNG", icc_profile=srgb)), np.asarray(image))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize(
    "profile",
    [
        b"nonsense" * 50,
        linear_profile("RGB ")[:200],
        cmyk_profile(),
        linear_profile("GRAY"),
        bytes(3 * 2**20),
    ],
    ids=["nonsense", "truncated", "CMYK", "grey", "huge"],
)
def test_unusable_profiles_are_ignored_with_one_warning(
    image_format: str, profile: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    image = Image.fromarray(noise(16, 16, 3))
    plain = decoded(saved(image, image_format))
    profile += image_format.encode()  # none that was seen before
    data = saved(image, image_format, icc_profile=profile)
    for _ in range(3):
        assert np.array_equal(decoded(data), plain)
    assert len([r for r in caplog.records if "colour profile" in r.message]) == 1


# -- frames, damage, limits


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF", "HEIF"])
def test_the_first_frame(image_format: str) -> None:
    if image_format == "AVIF" and "AVIF" not in FORMATS:
        pytest.skip("this Pillow has no AVIF")
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    data = saved(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert abs(decoded(data) - np.array([255, 0, 0])).max() <= 4


@pytest.mark.parametrize("image_format", FORMATS)
def test_half_a_file(image_format: str) -> None:
    data = saved(Image.fromarray(noise(64, 64, 3)), image_format)
    with pytest.raises(MediaError, match="the image is truncated or damaged: ") as caught:
        decode_image(data[: len(data) // 2], LIMITS)
    assert caught.value.kind == "invalid"


def test_decoding_checks_the_limits_and_leaves_pillows_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = [saved(Image.new("RGB", (40, 25)), image_format) for image_format in FORMATS]

    def decode_all() -> None:
        for one in data:
            assert decode_image(one, MediaLimits(max_pixels=1000)).size == (40, 25)

    threads = [threading.Thread(target=decode_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decode_all()
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(MediaError, match="more than the 999 allowed"):
        decode_image(data[0], MediaLimits(max_pixels=999))


def test_pictures_of_callers(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    image.info["icc_profile"] = linear_profile("RGB ")
    assert np.asarray(to_rgb(image, (1, 2, 3)))[0, 0].tolist() == [1, 2, 3]
    assert image.mode == "RGBA"
    data = saved(Image.fromarray(noise(64, 64, 3)), "PNG")
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    with (
        Image.open(tmp_path / "half.png") as half,
        pytest.raises(MediaError, match="the image is truncated or damaged"),
    ):
        to_rgb(half)


def test_fax_errors_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(
        saved(Image.fromarray(noise(64, 64)).convert("1"), "TIFF", compression="group4")
    )
    data[8:200] = noise(192).tobytes()
    with contextlib.suppress(MediaError):
        decode_image(bytes(data), LIMITS)
    assert capfd.readouterr() == ("", "")


def test_fingerprint() -> None:
    assert decode_fingerprint((255, 255, 255)) == decode_fingerprint((255, 255, 255))
    assert decode_fingerprint((255, 255, 255)) != decode_fingerprint((255, 255, 254))


def test_bombs_in_text_stay_packed() -> None:
    """2000 chunks, each of which unfolds to 1 MiB."""
    text = (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20)))
    data = png(8, 0, [b"\1\2\3"], *[text] * 2000)
    tracemalloc.start()
    start = time.thread_time()
    picture = decode_image(data, LIMITS)
    cpu_seconds = time.thread_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert picture.size == (3, 1)
    assert peak < 4 * 2**20
    # Of some hundredths; unfolding all of it would take seconds.
    assert cpu_seconds < 1
