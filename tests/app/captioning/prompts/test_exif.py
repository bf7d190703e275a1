"""What prompts say of a photograph, from EXIF that Pillow wrote."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from octavo.app.captioning.prompts.exif import FIELDS, read_exif
from octavo.core.protocol.media_error import MediaError
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

_BASE, _GPS = ExifTags.Base, ExifTags.GPS
MAIN: dict[int, Any] = {
    _BASE.Make: "Canon",
    _BASE.Model: "Canon EOS R5",
    _BASE.DateTime: "2024:01:01 00:00:00",  # when it was edited
    _BASE.Artist: "Zoe",
    _BASE.Copyright: "CC0",
    _BASE.ImageDescription: "  a boat\0",
}
CAMERA: dict[int, Any] = {
    _BASE.DateTimeOriginal: "2023:07:14 15:04:05",
    _BASE.LensModel: "RF 50mm F1.8",
    _BASE.FocalLength: IFDRational(500, 10),
    _BASE.FNumber: IFDRational(28, 10),
    _BASE.ExposureTime: IFDRational(1, 200),
    _BASE.ISOSpeedRatings: 400,
}
GPS: dict[int, Any] = {
    _GPS.GPSLatitudeRef: "S",
    _GPS.GPSLatitude: (IFDRational(33), IFDRational(51), IFDRational(252, 10)),
    _GPS.GPSLongitudeRef: "E",
    _GPS.GPSLongitude: (IFDRational(151), IFDRational(12), IFDRational(36)),
}
TEXTS = {
    "date": "2023-07-14",
    "time": "15:04:05",
    "camera": "Canon EOS R5",
    "lens": "RF 50mm F1.8",
    "focal_length": "50 mm",
    "aperture": "f/2.8",
    "exposure": "1/200 s",
    "iso": "400",
    "gps": "-33.85700, 151.21000",
    "artist": "Zoe",
    "copyright": "CC0",
    "description": "a boat",
}


def exif_of(
    main: dict[int, Any], camera: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> Image.Exif:
    exif = Image.Exif()
    exif.update(main)
    if camera is not None:
        exif[ExifTags.IFD.Exif] = camera
    if gps is not None:
        exif[ExifTags.IFD.GPSInfo] = gps
    return exif


def saved(exif: Image.Exif | None, image_format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    options = {} if exif is None else {"exif": exif.tobytes()}
    Image.new("RGB", (8, 4)).save(file, image_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_each_format(image_format: str) -> None:
    assert read_exif(saved(exif_of(MAIN, CAMERA, GPS), image_format)) == TEXTS
    assert set(TEXTS) == set(FIELDS)


def test_a_chunk_behind_the_pixels_is_found_without_decoding_them() -> None:
    """The pixels are no zlib stream at all."""
    exif = exif_of(MAIN, CAMERA, GPS).tobytes().removeprefix(b"Exif\0\0")

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"eXIf" * 100)
    assert read_exif(data + chunk(b"eXIf", exif) + chunk(b"IEND", b"")) == TEXTS
    assert read_exif(data + chunk(b"IEND", b"")) == {}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_none(image_format: str) -> None:
    assert read_exif(saved(None, image_format)) == {}


@pytest.mark.parametrize("data", [b"", b"text", saved(None)[:15], b"\x89PNG\r\n\x1a\n\0\0"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(MediaError):
        read_exif(data)


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ({_BASE.DateTimeOriginal: "0000:00:00 00:00:00"}, {}),
        ({_BASE.DateTimeOriginal: "    :  :     :  :  "}, {}),
        ({_BASE.DateTimeOriginal: "2023:13:40 00:00:00"}, {}),
        ({_BASE.DateTimeOriginal: "2023:07:14"}, {"date": "2023-07-14"}),
        (
            {_BASE.DateTimeOriginal: "2023-07-14 15:04"},
            {"date": "2023-07-14", "time": "15:04:00"},
        ),
        (
            {_BASE.DateTimeOriginal: "0000:00:00 00:00:00", _BASE.DateTimeDigitized: "2001:02:03"},
            {"date": "2001-02-03"},
        ),
        ({_BASE.FNumber: IFDRational(0, 0), _BASE.ISOSpeedRatings: 0}, {}),
        ({_BASE.ExposureTime: IFDRational(2)}, {"exposure": "2 s"}),
        ({_BASE.FocalLength: IFDRational(425, 100)}, {"focal_length": "4.25 mm"}),
    ],
)
def test_values_that_cameras_write(camera: dict[int, Any], expected: dict[str, str]) -> None:
    assert read_exif(saved(exif_of({}, camera))) == expected


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("SONY", "ILCE-7M3", "SONY ILCE-7M3"),
        ("Google", None, "Google"),
        (None, "iPhone", "iPhone"),
    ],
)
def test_camera(make: str | None, model: str | None, expected: str) -> None:
    tags = {_BASE.Make: make, _BASE.Model: model}
    exif = exif_of({tag: text for tag, text in tags.items() if text is not None})
    assert read_exif(saved(exif)) == {"camera": expected}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_texts_that_are_not_ascii(encoding: str) -> None:
    assert read_exif(saved(exif_of({_BASE.Artist: "Zoë".encode(encoding)}))) == {"artist": "Zoë"}


def test_a_place_without_seconds_is_none() -> None:
    gps = {**GPS, _GPS.GPSLatitude: (IFDRational(33), IFDRational(51), IFDRational(0, 0))}
    assert read_exif(saved(exif_of({}, None, gps))) == {}
