"""From what a list, or a table's cell, says to where a picture is."""

from __future__ import annotations

import os
import re
from typing import Any

from ....core.media.sources.local_files import file_url_path
from ....core.protocol.media_error import MediaError
from ..picture import BrokenAt, BytesAt, FileAt, Location, UrlAt

_URL = re.compile(r"(https?://|data:[^,/]*/[^,]*,|file:/)", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether it is one of the kinds that are read: http, https, data or file."""
    return _URL.match(text) is not None


def place_of(text: str, folder: str) -> tuple[str | None, Location]:
    """Of a path, relative to a folder, or a URL: its name, unless that would be long, and the
    place."""
    if not is_url(text):
        path = os.path.join(folder, text)
        return path, FileAt(path)
    scheme = text.partition(":")[0].lower()
    if scheme == "data":
        return None, UrlAt(text)
    if scheme != "file":
        return text, UrlAt(text)
    try:
        path = os.fsdecode(file_url_path(text))
    except MediaError as error:
        return text, BrokenAt(str(error).removeprefix(f"{text}: "))
    return path, FileAt(path)


def place_in_cell(cell: Any, folder: str) -> tuple[str | None, Location]:
    """Of a table's cell: a path, a URL, bytes, or {"bytes": ..., "path": ...} as `datasets`
    keeps pictures."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if cell is None or cell == "" or cell == b"":
        return None, BrokenAt("its row has no picture")
    if isinstance(cell, bytes):
        return None, BytesAt(cell)
    if not isinstance(cell, str):
        kind = type(cell).__name__
        return None, BrokenAt(f"its row has a value of type {kind}, not a path, a URL or bytes")
    try:
        os.fsencode(cell)
    except UnicodeEncodeError:
        return None, BrokenAt("its row has a path with half a character (a lone surrogate)")
    return place_of(cell, folder)
