"""Headers: sizes as Pillow decodes them; bombs are refused quickly and in little memory."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from image_mutations import whole_files
from octavo.core.media.headers.image_header import FORMATS, read_header
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image, ImageOps, features

LIMITS = MediaLimits()
MIB = 2**20


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A grey PNG of 8 bits whose pixels, if any, are up to the chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def small_png(*chunks: bytes) -> bytes:
    return png(2, 1, *chunks, chunk(b"IDAT", zlib.compress(b"\0\x10\x20")))


def webp(width: int, height: int, *chunks: tuple[bytes, bytes], flags: int = 0) -> bytes:
    sides = struct.pack("<II", width - 1, height - 1)
    canvas = struct.pack("<I", flags) + sides[:3] + sides[4:7]
    parts = [(b"VP8X", canvas), *chunks]
    content = b"".join(
        kind + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for kind, part in parts
    )
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


def tiff(*tags: tuple[int, int, int, int], extra: bytes = b"") -> bytes:
    """Little-endian; tags of tag, type, count and value or offset."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + extra


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def jpeg(width: int, height: int, before: bytes = b"", scans: int = 1, frame: int = 0xC0) -> bytes:
    size = struct.pack(">HH", height, width)
    sof = b"\xff" + bytes([frame]) + b"\0\x0b\x08" + size + b"\x01\x01\x11\0"
    return b"\xff\xd8" + before + sof + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0abc" * scans + b"\xff\xd9"


def gif(width: int, height: int, before: bytes = b"") -> bytes:
    frame = b"," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + before + frame


@pytest.mark.parametrize("name", whole_files())
def test_as_pillow_sees_it_upright(name: str) -> None:
    data = whole_files()[name]
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    header = read_header(memoryview(data), LIMITS)
    assert header.size == upright.size
    assert header.format == ("JPEG" if image.format == "MPO" else image.format)


def test_os2_and_top_down_bitmaps() -> None:
    os2 = b"BM" + struct.pack("<IHHI", 26, 0, 0, 26) + struct.pack("<IHHHH", 12, 5, 3, 1, 24)
    assert read_header(os2, LIMITS).size == (5, 3)
    assert read_header(bmp(5, -3), LIMITS).size == (5, 3)


def test_every_format_is_named() -> None:
    assert set(FORMATS) >= {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}
    assert ("AVIF" in FORMATS) == features.check("avif")
    for data in (b"", b"hello", b"<svg/>", b"\0\0\0\x18ftypisom", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE"):
        with pytest.raises(MediaError, match="not an image in a known format") as caught:
            read_header(data, LIMITS)
        assert all(name in str(caught.value) for name in FORMATS)
        assert caught.value.kind == "invalid"


def test_limits_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for image_format in FORMATS:
        data = saved(Image.new("RGB", (40, 25)), image_format)
        assert read_header(data, MediaLimits(max_pixels=1000)).size == (40, 25)
        with pytest.raises(MediaError, match="40 x 25 pixels, more than the 999 allowed"):
            read_header(data, MediaLimits(max_pixels=999))
        with pytest.raises(MediaError, match=rf"{len(data)} bytes, more than the {len(data) - 1}"):
            read_header(data, MediaLimits(max_bytes=len(data) - 1))
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "AVIF", "HEIF"])
def test_too_many_frames(image_format: str) -> None:
    if image_format not in FORMATS:
        pytest.skip("this Pillow has no AVIF")
    frames = [Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(5)]
    data = saved(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert read_header(data, MediaLimits(max_frames=5)).size == (8, 8)
    with pytest.raises(MediaError, match="5 frames, more than the 4 allowed"):
        read_header(data, MediaLimits(max_frames=4))


ZEROS = zlib.compress(bytes(MIB))
MANY = 30 * MIB
EXIF_OF_MANY_TAGS = b"II*\0\x08\0\0\0\xff\xff" + bytes(65535 * 12 + 4)


def with_avif(data: bytes, box: bytes, offset: int, value: int, filling: int = 0) -> bytes:
    start = data.index(box) + offset
    return data[:start] + struct.pack(">I", value) + data[start + 4 :] + bytes(filling)


def avif() -> bytes:
    return saved(Image.new("RGB", (16, 16)), "AVIF") if "AVIF" in FORMATS else b""


def heic(**options: Any) -> bytes:
    return saved(Image.new("RGB", (64, 64)), "HEIF", **options)


def avif_sequence() -> bytes:
    frames = [Image.new("RGB", (16, 16), (40 * i, 0, 0)) for i in range(3)]
    options = {"save_all": True, "append_images": frames[1:]}
    return saved(frames[0], "AVIF", **options) if "AVIF" in FORMATS else b""


#: What is wrong with each, or None where a small picture hides in it.
BOMBS: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "png size": (lambda: png(50_000, 50_000, chunk(b"IDAT", ZEROS)), "50000 x 50000"),
    "png zero": (lambda: png(0, 5), "0 x 5"),
    "png zTXt": (lambda: small_png(*[chunk(b"zTXt", b"a\0\0" + ZEROS)] * 2000), None),
    "png iTXt": (lambda: small_png(*[chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS)] * 2000), None),
    "png raw EXIF": (
        lambda: small_png(
            *[chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(50 * MIB)))] * 50
        ),
        None,
    ),
    "png iCCP": (
        lambda: small_png(*[chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50 * MIB)))] * 50),
        None,
    ),
    "png chunks": (lambda: small_png(chunk(b"teSt", b"") * (MANY // 12)), "more than 20000 chunks"),
    "png eXIf": (lambda: small_png(chunk(b"eXIf", EXIF_OF_MANY_TAGS)), None),
    "png prefixes": (lambda: small_png(chunk(b"eXIf", b"Exif\0\0" * (MANY // 6))), None),
    "png lines": (
        lambda: small_png(chunk(b"tEXt", b"Raw profile type exif\0" + b"\n" * MANY)),
        None,
    ),
    "png XMP": (
        lambda: small_png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"tiff:" * (MANY // 5))),
        None,
    ),
    "apng": (lambda: small_png(chunk(b"acTL", struct.pack(">II", 10_000, 0))), "10000 frames"),
    "webp canvas": (lambda: webp(50_000, 50_000), "50000 x 50000"),
    "webp frames": (
        lambda: webp(9, 9, *[(b"ANMF", bytes(16))] * 10_000, flags=2),
        "10000 frames, more than the 1000",
    ),
    "webp chunks": (lambda: webp(9, 9, *[(b"TEST", b"")] * 10**6), "more than 20000 chunks"),
    "gif screen": (lambda: gif(65535, 65535), "65535 x 65535"),
    "gif frame": (
        lambda: gif(1, 1).replace(struct.pack("<4H", 0, 0, 1, 1), b"\xff" * 8),
        "131070 x 131070",
    ),
    "gif comment": (lambda: gif(1, 1, b"!\xfe" + b"\1 " * (MANY // 2) + b"\0"), "too much before"),
    "gif filling": (lambda: gif(1, 1, bytes(MANY)), "too much before"),
    "tiff size": (lambda: tiff((256, 4, 1, 2**31), (257, 4, 1, 2**31)), "2147483648 x 2147483648"),
    "tiff no size": (lambda: tiff((256, 4, 1, 5)), "without width or height"),
    "tiff tags": (lambda: tiff(*[(256, 4, 1, 5)] * 65535), "65535 tags"),
    "bigtiff tags": (
        lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 10**6) + bytes(20 * 10**6),
        "1000000 tags",
    ),
    "tiff values": (
        lambda: tiff((256, 4, 1, 5), (257, 4, 1, 5), (258, 3, MANY // 2, 64), extra=bytes(MANY)),
        "tag 258 holds",
    ),
    "tiff strips": (
        lambda: tiff((256, 4, 1, 5), (257, 4, 1, 5), (273, 4, MANY // 4, 64), extra=bytes(MANY)),
        "tag 273 holds",
    ),
    "tiff tile": (
        lambda: tiff(
            *[(tag, 4, 1, 5) for tag in (256, 257)], *[(t, 4, 1, 40000) for t in (322, 323)]
        ),
        "tiles of 40000 x 40000",
    ),
    "bmp size": (lambda: bmp(2**31 - 1, 2**31 - 1), "2147483647 x 2147483647"),
    "bmp negative": (lambda: bmp(-5, 5), "-5 x 5"),
    "bmp upside down": (lambda: bmp(5, -(2**31)), "5 x 2147483648"),
    "jpeg size": (lambda: jpeg(65500, 65500), "65500 x 65500"),
    "jpeg zero": (lambda: jpeg(5, 0), "5 x 0"),
    "jpeg segments": (lambda: jpeg(5, 5, b"\xff\xe5\0\2" * (MANY // 4)), "more than 4096 segments"),
    "jpeg filling": (lambda: jpeg(5, 5, b"\xff" * MANY), "without pixels"),
    "jpeg junk": (lambda: jpeg(5, 5, b"\xff\0" * (MANY // 2)), "without pixels"),
    "jpeg stuffing": (lambda: jpeg(5, 5, frame=0xC2)[:-2] + b"\xff\0" * (MANY // 2), None),
    "jpeg exif": (
        lambda: jpeg(5, 5, (b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65527)) * 450),
        None,
    ),
    "jpeg scans": (lambda: jpeg(5, 5, scans=2 * 10**6, frame=0xC2), "more than 100 scans"),
    "avif size": (lambda: with_avif(avif(), b"ispe", 8, 16000), None),
    "heic size": (lambda: with_avif(heic(), b"ispe", 8, 16000), None),
    "heic sizes": (lambda: with_avif(heic(), b"ispe", 8, 2**31), "truncated or damaged"),
    "heic items": (lambda: heic() + b"infe\2" * (MANY // 5), "boxes of type infe"),
    "heic metadata": (lambda: heic(exif=bytes(MIB)), None),
    "avif items": (lambda: avif() + b"infe\2" * (MANY // 5), "boxes of type infe"),
    "avif frames": (
        lambda: with_avif(avif_sequence(), b"stsz", 12, 10**7, MANY),
        "10000000 frames",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    make, message = BOMBS[name]
    if name.startswith("avif") and "AVIF" not in FORMATS:
        pytest.skip("this Pillow has no AVIF")
    data = make()
    assert len(data) <= LIMITS.max_bytes
    read = partial(_outcome, data)
    cpu_seconds = min(_timed(read) for _ in range(3))
    tracemalloc.start()
    outcome = read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if message is None:
        assert outcome[0] in ((2, 1), (5, 5), (16000, 16), (16000, 64), (64, 64))
    else:
        assert message in str(outcome)
    # Ten times what the slowest takes, where decoding or unfolding would take minutes.
    assert cpu_seconds < 0.5
    assert peak < 8 * MIB


def _outcome(data: bytes) -> tuple[Any, ...]:
    try:
        return (read_header(data, LIMITS).size,)
    except MediaError as error:
        return (None, str(error))


def _timed(read: Callable[[], object]) -> float:
    start = time.thread_time()
    read()
    return time.thread_time() - start


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_truncation_is_an_error_or_a_header(image_format: str) -> None:
    data = saved(Image.new("RGB", (40, 25)), image_format)
    for length in range(min(len(data), 700)):
        size, *_ = _outcome(data[:length])
        assert size in (None, (40, 25))
