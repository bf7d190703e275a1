"""The files of images that offline callers name, by paths or URLs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ...core.media.headers.image_header import check_file_size
from ...core.media.sources.data_url import read_data_url
from ...core.media.sources.local_files import file_url_path
from ...core.protocol.errors import RequestError
from ...core.protocol.media_limits import MediaLimits
from .url_reader import UrlReader

_URL = re.compile(r"(data|file|https?):", re.IGNORECASE)


class ImageFiles:
    """limits: to a file's size. urls: fetches from hosts, if there are any that may be."""

    def __init__(self, limits: MediaLimits, urls: UrlReader | None = None) -> None:
        self._limits = limits
        self._urls = urls

    def read(self, source: Any, param: str) -> bytes:
        """What a path or a URL names. Raises MediaError or RequestError."""
        if isinstance(source, str) and _URL.match(source):
            return self.read_url(source, param)
        if not isinstance(source, str | Path):
            raise RequestError(
                f"{param} must be a picture, a path or a file's bytes, not {type(source)}", param
            )
        return self._read_path(source, str(source), param)

    def read_url(self, url: str, param: str) -> bytes:
        """Raises MediaError or RequestError."""
        scheme = url.partition(":")[0].lower()
        if scheme == "data":
            return read_data_url(url, self._limits.max_bytes)
        if scheme == "file":
            return self._read_path(file_url_path(url), url, param)
        if scheme in ("http", "https"):
            return self._fetch(url, param)
        raise RequestError(
            f"{param}: a URL begins with data:, file:, http: or https:; give a path as "
            '{"type": "image", "image": path}',
            param,
        )

    def close(self) -> None:
        """End what fetches."""
        if self._urls is not None:
            self._urls.close()

    def _fetch(self, url: str, param: str) -> bytes:
        if self._urls is None:
            raise RequestError(
                f"{param}: only LLM and AsyncLLM fetch images, and only from hosts that they are "
                'told of, as in allowed_media_domains=["example.com"]',
                param,
            )
        return self._urls.read(url)

    def _read_path(self, path: str | Path | bytes, name: str, param: str) -> bytes:
        try:
            with open(path, "rb") as file:
                # A device or a pipe may go on for ever.
                data = file.read(self._limits.max_bytes + 1)
                num_bytes = max(len(data), os.fstat(file.fileno()).st_size)
        except (OSError, ValueError) as error:  # the latter for a null character
            reason = getattr(error, "strerror", None) or error
            raise RequestError(f"{param}: {name} can't be read: {reason}", param) from error
        check_file_size(num_bytes, self._limits)
        return data
