"""Messages that can be sent elsewhere: with their pictures, rather than where those are."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ....core.media.decode import decode_image, to_rgb
from ....core.media.headers.image_header import read_layout
from ....core.protocol.media_limits import MediaLimits
from ....core.protocol.request_error import naming_image
from ...offline.image_files import ImageFiles

#: What stands for the picture that is captioned.
PLACE: Mapping[str, Any] = {"type": "image"}

#: Pillow's names of what every server of vision-language models reads.
_COMMON_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
#: Pictures of a task keep to limits already, which may be the user's own.
_NO_LIMITS = MediaLimits(max_pixels=2**62, max_bytes=2**62, max_frames=2**31)
#: What errors call one.
_FEW_SHOT = "a few-shot picture"
#: A side of more pixels has no place in a JPEG file.
_MAX_JPEG_SIDE = 65535


def with_pictures(
    messages: Sequence[Mapping[str, Any]], shown: Mapping[str, Any], any_file: bool
) -> list[dict[str, Any]]:
    """shown: the part that takes the place of PLACE. any_file: see `picture_part`.

    Raises RequestError for a few-shot picture that can't be had.
    """
    return [
        {**message, "content": _content(message.get("content"), shown, any_file)}
        for message in messages
    ]


def picture_part(content: bytes | Image.Image, any_file: bool) -> dict[str, Any]:
    """The part of a message that shows a file, or a picture in memory.

    any_file: files go as they are, whatever their format. Else one that not every server reads, or
    would show lying on its side, is decoded here. What is decoded goes as a JPEG file of quality
    95 without subsampling: a photograph of as many pixels as are taken would be 100 MB in PNG, and
    models see it at a reduced size.

    Raises MediaError.
    """
    if isinstance(content, Image.Image):
        return _part(*_encode(to_rgb(content)))
    header, layout = read_layout(content, _NO_LIMITS)
    if any_file or (layout.orientation == 1 and header.format in _COMMON_FORMATS):
        return _part(header.format, content)
    return _part(*_encode(decode_image(content, _NO_LIMITS)))


def _content(content: Any, shown: Mapping[str, Any], any_file: bool) -> Any:
    if content is None or isinstance(content, str):
        return content
    return [_carried(part, shown, any_file) for part in content]


def _carried(
    part: Mapping[str, Any], shown: Mapping[str, Any], any_file: bool
) -> Mapping[str, Any]:
    if part == PLACE:
        return shown
    if part["type"] == "image":
        source = part["image"]
    elif part["type"] == "image_url":
        url = part["image_url"]
        source = url["url"] if isinstance(url, Mapping) else url
        if not source.lower().startswith("file:"):
            return part  # the server fetches it, or it is there already
    else:
        return part
    if isinstance(source, str | Path):
        source = ImageFiles(MediaLimits()).read(source, _FEW_SHOT)
    with naming_image(_FEW_SHOT):
        return picture_part(source, any_file)


def _encode(picture: Image.Image) -> tuple[str, bytes]:
    """In RGB. Returns the format's name, too."""
    file = io.BytesIO()
    if max(picture.size) > _MAX_JPEG_SIDE:
        picture.save(file, "PNG")
        return "PNG", file.getvalue()
    picture.save(file, "JPEG", quality=95, subsampling=0)
    return "JPEG", file.getvalue()


def _part(file_format: str, data: bytes) -> dict[str, Any]:
    url = f"data:image/{file_format.lower()};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
