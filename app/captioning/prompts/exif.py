"""What a camera wrote into a picture's file (EXIF 2.32), as texts for prompts."""

from __future__ import annotations

import io
import math
import re
import struct
from collections import ChainMap
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from ....core.media.headers.heic_header import open_heic
from ....core.media.headers.heif_boxes import heif_format
from ....core.media.headers.image_header import FORMATS
from ....core.media.pillow_guard import guarded_pillow

_Tags = Mapping[int, Any]

_BASE, _GPS = ExifTags.Base, ExifTags.GPS
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DATE = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?")
#: When the shutter was pressed, when it was digitised, when the file was changed.
_DATES = (_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.DateTime)


def read_exif(data: bytes) -> dict[str, str]:
    """By the names in FIELDS, those that the file has; no pixels are decoded.

    Raises MediaError for metadata that can't be read.
    """
    with guarded_pillow():
        exif = _open_exif(data)
        tags = ChainMap[int, Any](exif.get_ifd(ExifTags.IFD.Exif), exif)
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        texts = {name: read(gps if name == "gps" else tags) for name, read in FIELDS.items()}
    return {name: text for name, text in texts.items() if text}


def _open_exif(data: bytes) -> Image.Exif:
    chunk = _png_exif(data) if data.startswith(_PNG_SIGNATURE) else None
    if chunk is not None:
        exif = Image.Exif()
        exif.load(chunk)
        return exif
    if heif_format(data) == "HEIF":
        return open_heic(io.BytesIO(data)).getexif()
    # The base class's method, as that of PNG images decodes the pixels.
    return Image.Image.getexif(Image.open(io.BytesIO(data), formats=FORMATS))


def _png_exif(data: bytes) -> bytes | None:
    """The chunk eXIf, which may stand behind the pixels."""
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            return data[position + 8 : position + 8 + length]
        position += 12 + length
    return None


def _text(tag: int) -> Callable[[_Tags], str | None]:
    return lambda tags: _as_text(tags.get(tag))


def _as_text(value: Any) -> str | None:
    """Pillow takes texts to be Latin-1; most that are not ASCII are UTF-8."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return None
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode("utf-8")
    return value.replace("\0", " ").strip() or None


def _number(tags: _Tags, tag: int) -> float | None:
    """Above 0 and finite, as a camera that doesn't know writes 0, or 0/0."""
    value = tags.get(tag)
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        number = float(value or 0)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < math.inf else None


def _taken(tags: _Tags) -> tuple[str, str | None] | None:
    """Date and time of day, by the camera's clock."""
    for tag in _DATES:
        found = _DATE.match(_as_text(tags.get(tag)) or "")
        if found is None:
            continue
        with suppress(ValueError):  # 0000:00:00, where the clock was never set
            year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
            taken = datetime(year, month, day, hour, minute, second)
            return f"{taken:%Y-%m-%d}", f"{taken:%H:%M:%S}" if found[4] else None
    return None


def _date(tags: _Tags) -> str | None:
    taken = _taken(tags)
    return None if taken is None else taken[0]


def _time(tags: _Tags) -> str | None:
    taken = _taken(tags)
    return None if taken is None else taken[1]


def _camera(tags: _Tags) -> str | None:
    """Make and model; most models begin with the make already."""
    make, model = _as_text(tags.get(_BASE.Make)), _as_text(tags.get(_BASE.Model))
    if make is None or model is None:
        return model or make
    begins_alike = model.split()[0].lower() == make.split()[0].lower()
    return model if begins_alike else f"{make} {model}"


def _focal_length(tags: _Tags) -> str | None:
    length = _number(tags, _BASE.FocalLength)
    return None if length is None else f"{length:g} mm"


def _aperture(tags: _Tags) -> str | None:
    number = _number(tags, _BASE.FNumber)
    return None if number is None else f"f/{number:.2g}"


def _exposure(tags: _Tags) -> str | None:
    seconds = _number(tags, _BASE.ExposureTime)
    if seconds is None:
        return None
    return f"{seconds:.3g} s" if seconds > 0.3 else f"1/{1 / seconds:.0f} s"


def _iso(tags: _Tags) -> str | None:
    number = _number(tags, _BASE.ISOSpeedRatings)
    return None if number is None else f"{number:.0f}"


def _gps(tags: _Tags) -> str | None:
    latitude = _degrees(tags, _GPS.GPSLatitude, _GPS.GPSLatitudeRef, "S")
    longitude = _degrees(tags, _GPS.GPSLongitude, _GPS.GPSLongitudeRef, "W")
    if latitude is None or longitude is None:
        return None
    return f"{latitude:.5f}, {longitude:.5f}"


def _degrees(tags: _Tags, tag: int, reference: int, negative: str) -> float | None:
    try:
        degrees, minutes, seconds = map(float, tags[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    total = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(total):
        return None
    is_negative = (_as_text(tags.get(reference)) or "").upper().startswith(negative)
    return -total if is_negative else total


#: What templates may ask for, after "exif.".
FIELDS: dict[str, Callable[[_Tags], str | None]] = {
    "date": _date,
    "time": _time,
    "camera": _camera,
    "lens": _text(_BASE.LensModel),
    "focal_length": _focal_length,
    "aperture": _aperture,
    "exposure": _exposure,
    "iso": _iso,
    "gps": _gps,
    "artist": _text(_BASE.Artist),
    "copyright": _text(_BASE.Copyright),
    "description": _text(_BASE.ImageDescription),
}
