"""Pictures that were dropped on the page, as parts of a message. The server reads them, by its own
limits, and says what is wrong with them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any


def picture_part(path: str | Path) -> dict[str, Any]:
    """Raises OSError."""
    return bytes_part(Path(path).read_bytes())


def bytes_part(data: bytes) -> dict[str, Any]:
    """One of a file's bytes."""
    encoded = base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/unknown;base64,{encoded}"}}


def text_part(text: str) -> dict[str, Any]:
    """One of words."""
    return {"type": "text", "text": text}
