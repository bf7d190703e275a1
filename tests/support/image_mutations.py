"""Image files of many formats and modes, and damaged versions of them."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, features
from pillow_heif import register_heif_opener

# As the tests save HEIC, and hold what Octavo reads, which does without, against it.
register_heif_opener()

CORPUS = Path(__file__).parent / "image_corpus"

#: Pillow before 13 can't read the YCbCr that it writes.
KEEPS_YCBCR = int(PIL.__version__.partition(".")[0]) >= 13

_SAVED_AS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "RGB": [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"big_tiff": True}),
        ("AVIF", {}),
        ("HEIF", {}),
        ("HEIF", {"tile_size": 16}),
    ],
    "RGBA": [
        ("PNG", {}),
        ("WEBP", {}),
        ("TIFF", {"compression": "packbits"}),
        ("AVIF", {}),
        ("HEIF", {}),
        ("BMP", {}),
    ],
    "L": [("JPEG", {}), ("HEIF", {}), ("PNG", {"bits": 4}), ("BMP", {}), ("GIF", {}), ("TIFF", {})],
    "LA": [("PNG", {}), ("TIFF", {})],
    "P": [("PNG", {"transparency": 3}), ("GIF", {"transparency": 3}), ("BMP", {}), ("TIFF", {})],
    "1": [("PNG", {}), ("BMP", {}), ("TIFF", {"compression": "group4"})],
    "CMYK": [("JPEG", {}), ("TIFF", {})],
    "YCbCr": [("TIFF", {})] if KEEPS_YCBCR else [],
    "LAB": [("TIFF", {})],
    "I;16": [("PNG", {}), ("TIFF", {})],
    "I": [("TIFF", {})],
    "F": [("TIFF", {})],
}


@cache
def whole_files() -> dict[str, bytes]:
    """Undamaged files by name: those of the corpus, and some that Pillow saves."""
    files = {path.name: path.read_bytes() for path in sorted(CORPUS.glob("hopper*"))}
    for mode, kinds in _SAVED_AS.items():
        for number, (image_format, options) in enumerate(kinds):
            if image_format != "AVIF" or features.check("avif"):
                name = f"{mode}-{number}.{image_format.lower()}"
                files[name] = _save(_picture(mode), image_format, **options)
    frames = [_picture("RGB").rotate(angle) for angle in (90, 180)]
    for image_format in ("GIF", "PNG", "WEBP", "TIFF", "MPO", "HEIF"):
        files[f"animated.{image_format.lower()}"] = _save(
            _picture("RGB"), image_format, save_all=True, append_images=frames
        )
    return files


def mutated_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged files, each with a name that says what was done to which."""
    files = whole_files()
    chance = random.Random(seed)
    for number in range(count):
        name = chance.choice(list(files))
        data = files[name]
        steps = chance.choices(_MUTATIONS, k=chance.choice((1, 1, 1, 2, 4)))
        for step in steps:
            data = step(data or b"\0", chance)
        done = "+".join(step.__name__.strip("_") for step in steps)
        yield f"{seed}-{number}-{done}-{name}", data


def linear_profile(colour_space: str, swapped: bool = False) -> bytes:
    """An ICC profile (ICC.1:2001-04) of light in proportion to the numbers, "GRAY" or "RGB " with
    sRGB's primaries. swapped: red and green trade places."""
    curve = b"curv" + bytes(8)  # no points: the identity
    xyz = {
        b"rXYZ": (0.43607, 0.22249, 0.01392),
        b"gXYZ": (0.38515, 0.71687, 0.09708),
        b"bXYZ": (0.14307, 0.06061, 0.71410),
        b"wtpt": (0.96420, 1.0, 0.82491),
    }
    if swapped:
        xyz[b"rXYZ"], xyz[b"gXYZ"] = xyz[b"gXYZ"], xyz[b"rXYZ"]
    tags = {tag: _xyz_tag(values) for tag, values in xyz.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), curve)
    table = struct.pack(">I", len(tags))
    content = b""
    for tag, value in tags.items():
        offset = 132 + 12 * len(tags) + len(content)
        table += tag + struct.pack(">II", offset, len(value))
        content += value
    size = 128 + len(table) + len(content)
    header = struct.pack(
        ">I4xI4s4s4s12x4s", size, 0x02100000, b"mntr", colour_space.encode(), b"XYZ ", b"acsp"
    )
    header = header.ljust(68, b"\0") + _xyz_tag((0.96420, 1.0, 0.82491))[8:]
    return header.ljust(128, b"\0") + table + content


def _xyz_tag(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + struct.pack(">4x3i", *(round(value * 65536) for value in values))


def _picture(mode: str) -> Image.Image:
    """A gradient with noise, 33 x 21, and the metadata that photographs have."""
    noise = np.random.default_rng(7).integers(0, 60, (21, 33, 4))
    ramp = np.linspace(0, 195, 33).astype(int)[None, :, None]
    image = Image.fromarray((noise + ramp).astype(np.uint8))
    if mode == "F":
        return Image.fromarray(np.asarray(image.convert("L"), np.float32) / 255)
    if mode in ("I", "I;16"):
        wide = np.asarray(image.convert("L"), np.int32) * 257
        return Image.fromarray(wide if mode == "I" else wide.astype(np.uint16))
    if mode == "LAB":
        return image.convert("RGB").convert("LAB")
    return image.convert(mode) if mode == "RGBA" else image.convert("RGB").convert(mode)


def _save(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    if image_format in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "MPO"):
        exif = Image.Exif()
        exif[0x0112], exif[0x0131], exif[0x011A] = 6, "camera", 72.0
        options = {"exif": exif.tobytes(), "icc_profile": linear_profile("RGB "), **options}
    image.save(file, image_format, **options)
    return file.getvalue()


def _flip_bits(data: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 3, 20))):
        damaged[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _duplicate_slice(data: bytes, chance: random.Random) -> bytes:
    start = _place(data, chance)
    end = start + chance.choice((1, 4, 30, 1000))
    return data[:end] + data[start:end] * chance.choice((1, 1, 50)) + data[end:]


def _remove_slice(data: bytes, chance: random.Random) -> bytes:
    start = _place(data, chance)
    return data[:start] + data[start + chance.choice((1, 2, 4, 30, 1000)) :]


def _overwrite_number(data: bytes, chance: random.Random) -> bytes:
    """As a length, count, offset or size may be."""
    value = chance.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF))
    number = struct.pack(chance.choice("<>") + "I", value)
    number = number[: chance.choice((2, 4))] if chance.random() < 0.5 else number[-2:]
    start = _place(data, chance)
    return data[:start] + number + data[start + len(number) :]


def _splice(data: bytes, chance: random.Random) -> bytes:
    other = chance.choice(list(whole_files().values()))
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _place(data: bytes, chance: random.Random) -> int:
    """Half of the time in the header, where it hurts most."""
    return chance.randrange(max(1, min(len(data), chance.choice((200, len(data))))))


_MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    _flip_bits,
    _truncate,
    _duplicate_slice,
    _remove_slice,
    _overwrite_number,
    _splice,
]
