"""Numbers of any type in EXIF blocks and TIFF directories are what Pillow reads."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from octavo.core.media.decode import decode_image
from octavo.core.media.headers.image_header import read_header
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image, ImageOps

ORIENTATION, WIDTH, HEIGHT = 0x0112, 256, 257
#: Of struct, by TIFF's number for a type; a fraction is two numbers, a letter a character.
TYPES = {
    **{1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "c", 8: "h", 9: "i", 10: "ii"},
    **{11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 99: "I"},
}


def packed(order: str, kind: int, values: list[int]) -> bytes:
    code = TYPES[kind]
    if code == "c":
        return bytes(values)
    parts = ([value, 1] if len(code) == 2 else [value] for value in values)
    return b"".join(struct.pack(order + code, *part) for part in parts)


def exif(order: str, kind: int, values: list[int]) -> bytes:
    """A block that holds the orientation alone, behind the directory if it doesn't fit in it."""
    data = packed(order, kind, values)
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    inline = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", 26)
    entry = struct.pack(order + "HHI", ORIENTATION, kind, len(values)) + inline
    head = magic + struct.pack(order + "IH", 8, 1)
    return b"Exif\0\0" + head + entry + bytes(4) + (data if len(data) > 4 else b"")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("values", [[6], [6, 0], [3, 6, 8, 1, 1], [9], [0], []], ids=str)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.filterwarnings("ignore:.*EXIF.*:UserWarning", "ignore:Metadata:UserWarning")
def test_orientation_of_any_type(kind: int, values: list[int], order: str) -> None:
    pixels = np.arange(12 * 8 * 3, dtype=np.uint8).reshape(12, 8, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif(order, kind, values))
    with Image.open(io.BytesIO(file.getvalue())) as image:
        expected = ImageOps.exif_transpose(image)
    ours = decode_image(file.getvalue(), MediaLimits())
    assert np.array_equal(np.asarray(ours), np.asarray(expected))


def tiff(entries: dict[int, tuple[int, int]]) -> bytes:
    """A grey picture of 3 x 2 pixels; entries replace or join its own."""
    own = {WIDTH: (4, 3), HEIGHT: (4, 2), 258: (3, 8), 259: (3, 1), 262: (3, 1)}
    own |= {273: (4, 8), 277: (3, 1), 278: (3, 2), 279: (4, 6)} | entries
    directory = struct.pack("<H", len(own))
    for tag, (kind, value) in sorted(own.items()):
        directory += struct.pack("<HHI", tag, kind, 1) + packed("<", kind, [value]).ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 14) + bytes(range(10, 16)) + directory + bytes(4)


@pytest.mark.parametrize("kind", [3, 4, 6, 8, 9])
def test_sizes_and_orientation_of_a_tiff(kind: int) -> None:
    data = tiff({WIDTH: (kind, 3), HEIGHT: (kind, 2), ORIENTATION: (kind, 6)})
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert expected.size == tuple(read_header(data, MediaLimits()).size) == (2, 3)
    assert np.array_equal(np.asarray(decode_image(data, MediaLimits())), np.asarray(expected))


def test_a_size_below_zero_is_refused() -> None:
    with pytest.raises(MediaError):
        read_header(tiff({WIDTH: (9, -3)}), MediaLimits())


def test_an_orientation_that_is_not_there_is_upright() -> None:
    """A fraction that lies beyond the end of the file."""
    fraction = b"\x12\x01\x05\0\1\0\0\0\xff\xff\0\0"
    block = b"Exif\0\0II*\0\x08\0\0\0\1\0" + fraction + bytes(4)
    file = io.BytesIO()
    Image.new("RGB", (4, 2)).save(file, "JPEG", exif=block)
    assert decode_image(file.getvalue(), MediaLimits()).size == (4, 2)
