"""Whether a file is a picture, by its first bytes; and what it is otherwise, by its ending."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from ....core.media.headers.image_header import FORMATS
from ..picture import NotAPictureError, PictureError

#: Bytes at a file's beginning that tell.
HEAD = 512

#: Signatures at an offset. Formats that can be decoded have their names in FORMATS.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"CR\x02\0", "camera raw"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIRS", "camera raw"),
    (0, b"MMOR", "camera raw"),
    (0, b"IIU\0", "camera raw"),
    (0, b"FOVb", "camera raw"),
    (0, b"\0MRM", "camera raw"),
    (0, b"II\x2a\0", "TIFF"),
    (0, b"MM\0\x2a", "TIFF"),
    (0, b"II\x2b\0", "TIFF"),
    (0, b"MM\0\x2b", "TIFF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"qoif", "QOI"),
    (0, b"DDS \x7c\0\0\0", "DDS"),
    (128, b"DICM", "DICOM"),
)
#: Brands of an ISO media file (ISO/IEC 23008-12 and others).
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIF"
    ),
    b"crx ": "camera raw",
}
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
_RAW_ENDINGS = frozenset(
    """
    .3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2
    .rwl .sr2 .srf .srw .x3f
    """.split()  # noqa: SIM905
)
#: Formats whose signature is too short to tell without the ending.
_BY_ENDING_TOO = {
    ".ico": (b"\0\0\1\0", "icon"),
    ".pbm": (b"P", "PNM"),
    ".pgm": (b"P", "PNM"),
    ".ppm": (b"P", "PNM"),
    ".pnm": (b"P", "PNM"),
    ".svgz": (b"\x1f\x8b", "SVG"),
}
#: Endings of files that are meant to be pictures, whatever they hold.
PICTURE_ENDINGS = _RAW_ENDINGS.union(
    _BY_ENDING_TOO,
    """
    .jpg .jpeg .jpe .jfif .jif .png .apng .webp .gif .bmp .dib .tif .tiff .avif .heic .heif .hif
    .psd .psb .jxl .jp2 .j2k .jpx .jxr .exr .hdr .xcf .qoi .dds .dcm .svg
    """.split(),  # noqa: SIM905
)
_ENDING = re.compile(r"\.(?![0-9]+$)[a-z0-9_~+-]{1,10}")

_ADVICE = {
    "camera raw": "develop it to JPEG or TIFF, or caption the JPEG that the camera kept beside it",
    "HEIF": "install pillow-heif: pip install 'octavo[heic]'",
    "SVG": "render it to PNG, as by rsvg-convert",
    "Photoshop": "save it as PNG or JPEG, as by ImageMagick",
}
_NAMES = {"HEIF": "HEIC (HEIF)"}


def ending(name: str) -> str:
    """Of a file's name, in lower case, with its dot; "" if it has none."""
    return os.path.splitext(os.path.basename(name))[1].lower()


def kind_by_ending(name: str) -> str:
    """As what a file that is no picture is counted."""
    end = ending(name)
    if not end:
        return "files without an ending"
    return f"{end} files" if _ENDING.fullmatch(end) else "files with odd endings"


def picture_format(head: bytes, name: str) -> str | None:
    """The format of a picture with this beginning, which may be none of FORMATS; None if it is
    no picture."""
    end = ending(name)
    for offset, signature, name_of_it in _SIGNATURES:
        if head.startswith(signature, offset):
            is_raw = name_of_it == "TIFF" and end in _RAW_ENDINGS
            return "camera raw" if is_raw else name_of_it
    if end in _BY_ENDING_TOO and head.startswith(_BY_ENDING_TOO[end][0]):
        return _BY_ENDING_TOO[end][1]
    return next((found for look in _LOOKS if (found := look(head))), None)


def check_picture(head: bytes, name: str, was_named: bool) -> None:
    """Raises PictureError for a picture that can't be decoded, or for what is none but was named,
    or ends as pictures do; NotAPictureError for other files that were found."""
    found = picture_format(head, name)
    if found in FORMATS:
        return
    if found is not None:
        advice = _ADVICE.get(found, "convert it to PNG or JPEG")
        raise PictureError(
            f"pictures in the format {_NAMES.get(found, found)} can't be decoded; {advice}"
        )
    if was_named or ending(name) in PICTURE_ENDINGS:
        raise PictureError(_no_picture(head))
    raise NotAPictureError(kind_by_ending(name))


def _no_picture(head: bytes) -> str:
    if not head:
        return "the file is empty; copy it again"
    if not head.strip(b"\0"):
        return "it holds zeros instead of a picture, as after an interrupted copy; copy it again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "it holds HTML, such as a web server's error page; download the picture again"
    for signature, what in _OTHERS:
        if head.startswith(signature):
            return f"it holds {what} rather than a picture"
    return f"it holds no picture in a known format; it begins with {head[:8]!r}"


_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch it by `git lfs pull`,"),
    (b"{", "JSON"),
)


def _bmp(head: bytes) -> str | None:
    is_bmp = head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return "BMP" if is_bmp else None


def _webp(head: bytes) -> str | None:
    return "WEBP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _iso_media(head: bytes) -> str | None:
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, end, 4))]
    found = {_BRANDS.get(brand) for brand in brands}
    # An AVIF has mif1 among its brands, which are HEIC's too.
    return next((name for name in ("camera raw", "AVIF", "HEIF") if name in found), None)


def _svg(head: bytes) -> str | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    is_svg = text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--")) and b"<svg" in text)
    return "SVG" if is_svg or text.startswith(b"<!DOCTYPE svg") else None


_LOOKS: tuple[Callable[[bytes], str | None], ...] = (_bmp, _webp, _iso_media, _svg)
