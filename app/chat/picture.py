"""A picture that is shown to the model, read once from its file."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...core.contracts.specs import ImageSize
from ...core.media.headers.image_header import check_file_size, read_header
from ...core.protocol.media_error import MediaError
from ...core.protocol.media_limits import MediaLimits
from .backend import ChatError


@dataclass(frozen=True)
class Picture:
    """data: of the file as it was when it was attached; what becomes of it later doesn't matter.
    size: upright. format: under Pillow's name."""

    path: Path
    data: bytes
    size: ImageSize
    format: str

    @cached_property
    def data_url(self) -> str:
        """With the file's contents."""
        return f"data:image/{self.format.lower()};base64,{b64encode(self.data).decode()}"

    @property
    def file_url(self) -> str:
        """With the file's path."""
        return self.path.absolute().as_uri()


def path_of(name: str) -> Path:
    """The file that is meant, as a shell or a file manager would write it: ~, file: and all."""
    if name.startswith("file://"):
        name = unquote(urlsplit(name).path)
    try:
        return Path(name).expanduser()
    except RuntimeError:  # a ~ of somebody who isn't known
        return Path(name)


def read_picture(name: str, limits: MediaLimits) -> Picture:
    """Raises ChatError for a file that can't be read, or is no picture within the limits."""
    path = path_of(name)
    try:
        if path.exists() and not path.is_file():
            raise ChatError(f"{path} is no file")
        check_file_size(path.stat().st_size, limits)
        data = path.read_bytes()
        header = read_header(data, limits)
    except MediaError as error:
        raise ChatError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # the latter for a null character
        reason = getattr(error, "strerror", None) or error
        raise ChatError(f"{path} can't be read: {reason}") from error
    return Picture(path, data, header.size, header.format)
