"""The boxes of HEIF (ISO/IEC 23008-12), which AVIF and HEIC files are made of: which of the two a
file is, and what no library must see of it."""

from __future__ import annotations

import re

from ...protocol.media_error import MediaError
from ..pillow_guard import damaged

_AVIF = frozenset([b"avif", b"avis"])
_HEIC = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"])
#: Of any codec: an AVIF says so in its compatible brands.
_ANY = frozenset([b"mif1", b"msf1"])
#: Of a box of type ftyp; there are ten at most.
_MAX_BRANDS_BYTES = 256
#: More than a large picture has tiles and tracks.
_MAX_BOXES = {b"infe": 4096, b"stsz": 64}
#: The sample sizes of a track (ISO/IEC 14496-12, 8.7.3.2): one for all, and how many.
_SAMPLE_SIZES = re.compile(rb"stsz\0{4}.{4}(.{4})", re.DOTALL)
#: The libraries make a table of them, up to hundreds of MB.
_MAX_SAMPLES = 2**16
#: An item information entry (8.11.6) that announces a block of EXIF, or of XMP and the like, which
#: may be packed.
_METADATA_ITEM = re.compile(rb"(infe[\x02\x03].{5,7}..)(?:Exif|mime)", re.DOTALL)


def heif_format(data: bytes) -> str | None:
    """ "AVIF" or "HEIF", under Pillow's names, as the file begins; None if it is neither."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), _MAX_BRANDS_BYTES)
    major, compatible = data[8:12], {data[at : at + 4] for at in range(16, end, 4)}
    if major in _AVIF or (major in _ANY and compatible & _AVIF):
        return "AVIF"
    return "HEIF" if major in _HEIC or major in _ANY else None


def without_metadata(data: bytes, name: str) -> bytes:
    """The file for a library that reads it, without what that would copy for nothing. The
    orientation is in the boxes irot and imir; metadata have no say in it. name: of the format.

    Raises MediaError for one with more boxes and frames than any picture needs.
    """
    for box, limit in _MAX_BOXES.items():
        if data.count(box) > limit:
            raise damaged(f"an {name} with more than {limit} boxes of type {box.decode()}")
    for found in _SAMPLE_SIZES.finditer(data):
        samples = int.from_bytes(found[1], "big")
        if samples > _MAX_SAMPLES:
            raise MediaError(f"the {name} sequence has {samples} frames; send a single picture")
    return _METADATA_ITEM.sub(rb"\1skip", data)
