"""Pictures that were dropped on the page, as parts of a message. The server reads them, by its own
limits, and says what is wrong with them."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from ..server.server_api import ServerError

#: Of a picture's file. What else there is to a picture, the server judges.
MAX_BYTES = 64 * 2**20
#: How a server names a part of what is asked; pictures come first.
_PLACE = re.compile(r"^(?:messages\[\d+\]\.content|input)\[(\d+)\](?:\.image_url)?: ")


def picture_part(path: str | Path) -> dict[str, Any]:
    """Raises OSError, and ServerError for a file of more than MAX_BYTES."""
    file = Path(path)
    size = file.stat().st_size
    if size > MAX_BYTES:
        sizes = f"{size / 2**20:.0f} MiB; the page takes {MAX_BYTES // 2**20} MiB"
        raise ServerError(f"{file.name} has {sizes}")
    return bytes_part(file.read_bytes())


def bytes_part(data: bytes) -> dict[str, Any]:
    """One of a file's bytes."""
    encoded = base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/unknown;base64,{encoded}"}}


def text_part(text: str) -> dict[str, Any]:
    """One of words."""
    return {"type": "text", "text": text}


def numbered(error: object) -> str:
    """What a server says of one of several pictures, which gets its number, from 1 on."""
    return _PLACE.sub(lambda at: f"picture {int(at[1]) + 1}: ", str(error))


def unplaced(error: object) -> str:
    """What it says of the only one."""
    return _PLACE.sub("", str(error))
