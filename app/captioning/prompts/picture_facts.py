"""What templates may say of a picture: its file's name and size, its EXIF, its table's columns."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from ....core.contracts.specs import ImageSize
from ....core.media.headers.image_header import read_header
from ....core.protocol.media_error import MediaError
from ....core.protocol.media_limits import MediaLimits
from ..picture import FileAt, MemberAt, Picture, PictureError, UrlAt, printable
from .exif import read_exif

#: A picture above the limits is captioned at a reduced size, and its size is asked for all the
#: same.
_NO_LIMITS = MediaLimits(max_pixels=2**62, max_bytes=2**62, max_frames=2**62)


class PictureFacts:
    """Of one picture. data: its file's bytes. What no template asks for is not looked up."""

    def __init__(self, picture: Picture, data: bytes) -> None:
        self._picture = picture
        self._data = data

    def of_file(self, name: str) -> str | None:
        """name: one of FILE_FACTS. None if there is none. Raises PictureError."""
        return FILE_FACTS[name](self) or None

    def of_exif(self, name: str) -> str | None:
        """None if the file doesn't say, or has no EXIF that can be read."""
        return self._exif.get(name)

    def of_column(self, name: str) -> str | None:
        """None if the picture's row has no such column, or nothing in it. Raises PictureError for
        bytes."""
        return _written(self._picture.columns.get(name), name)

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return list(self._picture.columns)

    @property
    def path(self) -> str:
        """As the source has it."""
        return printable(self._picture.path or self._picture.name)

    @cached_property
    def parts(self) -> list[str]:
        """Of the path: folders, and the name of the file at the end."""
        at = self._picture.at
        if isinstance(at, FileAt):
            path = os.path.abspath(at.path)
        elif isinstance(at, MemberAt):
            path = os.path.join(_without_ending(os.path.abspath(at.archive)), at.member)
        elif isinstance(at, UrlAt) and not at.url.startswith("data:"):
            path = unquote(urlsplit(at.url).path)
        else:
            path = self._picture.name
        return [printable(part) for part in path.split("/") if part]

    @property
    def name(self) -> str:
        """Of the file, with its ending."""
        return self.parts[-1] if self.parts else ""

    @property
    def has_file_name(self) -> bool:
        """Whether it is one, rather than the place of a cell in a table."""
        at = self._picture.at
        return isinstance(at, FileAt | MemberAt) or (
            isinstance(at, UrlAt) and not at.url.startswith("data:")
        )

    @cached_property
    def size(self) -> ImageSize:
        """Upright. Raises PictureError."""
        try:
            return read_header(self._data, _NO_LIMITS).size
        except MediaError as error:
            raise PictureError(str(error)) from error

    @cached_property
    def _exif(self) -> dict[str, str]:
        try:
            return read_exif(self._data)
        except MediaError:
            return {}


def _stem(facts: PictureFacts) -> str:
    return os.path.splitext(facts.name)[0] if facts.has_file_name else facts.name


def _ending(facts: PictureFacts) -> str:
    return os.path.splitext(facts.name)[1].removeprefix(".") if facts.has_file_name else ""


def _folder(facts: PictureFacts) -> str:
    return facts.parts[-2] if len(facts.parts) > 1 else ""


def _without_ending(archive: str) -> str:
    """photos.tar.gz -> photos, in whatever folder."""
    return re.sub(r"(?:\.tar)?\.\w+\Z", "", archive)


#: What templates may ask for of any picture.
FILE_FACTS: dict[str, Callable[[PictureFacts], str]] = {
    "stem": _stem,
    "name": lambda facts: facts.name,
    "folder": _folder,
    "path": lambda facts: facts.path,
    "ext": _ending,
    "width": lambda facts: str(facts.size.width),
    "height": lambda facts: str(facts.size.height),
}


def _written(value: Any, column: str) -> str | None:
    """A cell as a sentence has it: numbers and true or false as in JSON, lists with commas."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise PictureError(f"its column {column!r} holds bytes, which no prompt can have in it")
    if value is None or (isinstance(value, float) and math.isnan(value)):  # of pandas: missing
        return None
    if isinstance(value, str):
        return printable(value) if value.strip() else None
    if isinstance(value, list | tuple):
        texts = [_written(item, column) for item in value]
        return ", ".join(text for text in texts if text is not None) or None
    if isinstance(value, bool | int | float | dict):
        return printable(json.dumps(value, ensure_ascii=False, default=str))
    return printable(str(value))  # dates and decimals
