"""TIFF: the first page, reduced to the tags that make its picture."""

from __future__ import annotations

from ...contracts.specs import ImageSize
from ..pillow_guard import damaged
from .image_layout import ImageLayout
from .orientation import orientation_in
from .tiff_ifd import Ifd, IfdEntry, read_ifd

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
#: Layout of the samples, colours, compression, strips, tiles, JPEG inside TIFF, ICC profile.
_PICTURE_TAGS = frozenset(
    [
        *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320),
        *(322, 323, 324, 325, 332, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521),
        *(529, 530, 531, 532, 34675, 50674),
    ]
)
#: Where the strips and tiles are, and their lengths.
_SEGMENT_TAGS = frozenset([273, 279, 324, 325])
_MAX_SEGMENTS, _MAX_VALUES = 100_000, 1024
_BYTE_TYPES = frozenset([1, 2, 6, 7])
#: A tile may be larger than the picture, but is decoded whole.
_MAX_TILE_PIXELS = 2**24


def read_tiff(data: bytes) -> ImageLayout:
    """Raises MediaError, ValueError or struct.error for a broken header or absurd tags."""
    ifd = read_ifd(data)
    entries = {tag: entry for tag, entry in ifd.entries.items() if tag in _PICTURE_TAGS}
    for tag, entry in entries.items():
        _check_count(tag, entry)
    width, height = ifd.integer(_WIDTH), ifd.integer(_HEIGHT)
    if width is None or height is None:
        raise damaged("a TIFF without width or height")
    _check_tile(ifd, width, height)
    view = memoryview(data)
    picture = (view[: ifd.start], ifd.pack(entries), view[ifd.end :])
    return ImageLayout(ImageSize(width, height), picture, orientation_in(ifd, data) or 1)


def _check_count(tag: int, entry: IfdEntry) -> None:
    limit = _MAX_SEGMENTS if tag in _SEGMENT_TAGS else _MAX_VALUES
    if entry.type not in _BYTE_TYPES and entry.num_values > limit:
        raise damaged(f"TIFF tag {tag} holds {entry.num_values} values, more than {limit}")


def _check_tile(ifd: Ifd, width: int, height: int) -> None:
    tile_width, tile_height = ifd.integer(_TILE_WIDTH), ifd.integer(_TILE_HEIGHT)
    if tile_width is None or tile_height is None:
        return
    if tile_width * tile_height > max(width * height, _MAX_TILE_PIXELS):
        raise damaged(
            f"a TIFF of {width} x {height} pixels in tiles of {tile_width} x {tile_height}"
        )
