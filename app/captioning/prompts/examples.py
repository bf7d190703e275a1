"""Few-shot pictures: what was asked about each, and the answer that it should have had."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....core.media.decode import decode_image
from ....core.media.headers.image_header import read_header
from ....core.protocol.media_error import MediaError
from ....core.protocol.media_limits import MediaLimits
from ....core.protocol.request_error import RequestError
from ..picture import FileAt, Picture, printable
from .picture_facts import PictureFacts
from .prompt_fields import check_unicode, refuse_unknown

_FIELDS = ("image", "answer", "text")


@dataclass(frozen=True)
class Example:
    """url: data:, with the file. digest: of the file, in hex. text: what is asked about it; None
    is what is asked about the others. facts: of the picture, for templates."""

    url: str = field(repr=False)
    digest: str
    answer: str
    text: str | None
    facts: PictureFacts = field(repr=False)


def read_example(
    given: Any, folder: Path, limits: MediaLimits, label: str, known: dict[Path, bytes]
) -> Example:
    """From a table with image, answer and maybe text. known: files that were read and decoded
    before; this adds its own. Raises RequestError for anything but a picture within the limits."""
    if not isinstance(given, Mapping):
        raise RequestError(f"{label} must be a table with image and answer, got {given!r}")
    refuse_unknown(given, _FIELDS, lambda name: f"{label}.{name}")
    for name in ("image", "answer"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise RequestError(f"{label} needs {name}, a text")
    text = given.get("text")
    if text is not None and not isinstance(text, str):
        raise RequestError(f"{label}.text must be a text, got {text!r}")
    check_unicode((given["answer"], text), label)
    path = folder / given["image"]
    if path not in known:
        known[path] = _read_picture(path, limits, label)
    data = known[path]
    kind = read_header(data, limits).format.lower()
    return Example(
        f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
        hashlib.sha256(data).hexdigest(),
        given["answer"],
        text,
        PictureFacts(Picture(str(path), FileAt(str(path))), data),
    )


def _read_picture(path: Path, limits: MediaLimits, label: str) -> bytes:
    shown = f"{label}: {printable(str(path))}"
    if os.path.exists(path) and not os.path.isfile(path):  # a FIFO would never end
        raise RequestError(f"{shown} is no regular file; name a picture")
    try:
        with open(path, "rb") as file:
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:  # the latter for a null character
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{shown} can't be read: {reason}") from error
    try:
        decode_image(data, limits)
    except MediaError as error:
        raise RequestError(f"{shown}: {error}") from error
    return data
