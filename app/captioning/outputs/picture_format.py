"""What a file is by its first bytes, among pictures; and how pictures' names end."""

from __future__ import annotations

#: Lower-case, the usual ones first.
PICTURE_ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jxl", ".jfif", ".jpe", ".jp2", ".ppm", ".tga"),
)
#: As many bytes as tell.
HEAD_BYTES = 32

_SIGNATURES = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF8": "gif",
    b"II\x2a\0": "tif",
    b"MM\0\x2a": "tif",
    b"II\x2b\0": "tif",
    b"MM\0\x2b": "tif",
    b"\xff\x0a": "jxl",
    b"\0\0\0\x0cJXL ": "jxl",
    b"\0\0\0\x0cjP  ": "jp2",
}
#: Brands of ISO base media files.
_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heif"}


def picture_ending(head: bytes) -> str | None:
    """Such as "jpg", without the dot; None if the bytes begin no picture that is known here."""
    for signature, ending in _SIGNATURES.items():
        if head.startswith(signature):
            return ending
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":  # reserved; text may begin so, too
        return "bmp"
    return _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def is_picture_file(path: str) -> bool:
    """By its first bytes. Raises OSError."""
    with open(path, "rb") as file:
        return picture_ending(file.read(HEAD_BYTES)) is not None
