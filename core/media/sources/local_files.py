"""Images from file: URLs, only from inside one allowed folder."""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from ...protocol.media_error import MediaError

logger = logging.getLogger(__name__)


class LocalFiles:
    """Reads images from one folder and the folders in it; with None, from nowhere.

    Raises ValueError if the folder is none.
    """

    def __init__(self, folder: Path | None, max_bytes: int) -> None:
        if folder is not None and not folder.is_dir():
            raise ValueError(f"--allowed-local-media-path: {folder} is not a folder")
        self._folder = None if folder is None else folder.resolve()
        self._max_bytes = max_bytes

    def read(self, url: str) -> bytes:
        """The bytes of the file that a file: URL names; blocks while it is read.

        Symbolic links are followed, and what they lead to must be inside the folder too. Raises
        MediaError; a file outside the folder gives the same one whether it exists or not.
        """
        if self._folder is None:
            raise MediaError(
                "this server reads no local files; send a data: URL, or start it with "
                "--allowed-local-media-path"
            )
        path = file_url_path(url)
        try:
            # O_PATH names the file without opening it, so that no device or FIFO notices, and
            # what is checked is what is read, whatever happens to the path in between.
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise self._no_file(url, str(error)) from error
        try:
            return self._read(url, handle, self._folder)
        finally:
            os.close(handle)

    def _read(self, url: str, handle: int, folder: Path) -> bytes:
        same_file = f"/proc/self/fd/{handle}"
        status = os.fstat(handle)
        real_path = Path(os.readlink(same_file))
        if not real_path.is_relative_to(folder):
            raise self._no_file(url, f"it is {real_path}, outside the folder")
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"{url}: not a regular file; name the file of an image")
        too_large = MediaError(
            f"{url}: larger than the {self._max_bytes} bytes allowed; use a smaller image"
        )
        if status.st_size > self._max_bytes:
            raise too_large
        try:
            with open(same_file, "rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise self._no_file(url, str(error)) from error
        if len(data) > self._max_bytes:  # it grew
            raise too_large
        return data

    def _no_file(self, url: str, reason: str) -> MediaError:
        """One message for whatever is missing, outside or unreadable; the log says which."""
        logger.warning("no image from %s: %s", url, reason)
        return MediaError(
            f"{url}: no file that this server can read inside its --allowed-local-media-path; "
            "check the path"
        )


def file_url_path(url: str) -> bytes:
    """The path of a file: URL (RFC 8089). Raises MediaError."""
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise MediaError("a file: URL holds no control characters; percent-encode them")
    try:
        parts = urlsplit(url)
        path = unquote_to_bytes(parts.path)
    except ValueError as error:
        raise MediaError(f"{url!r}: can't be read as a URL") from error
    if parts.scheme != "file" or not path.startswith(b"/"):
        raise MediaError(f"{url}: expected a file: URL with a full path (file:///folder/image.png)")
    if parts.netloc.lower() not in ("", "localhost"):
        raise MediaError(f"{url}: the host must be empty (file:///folder/image.png)")
    if "?" in url or "#" in url:
        raise MediaError(f"{url}: percent-encode the question mark as %3F, the hash as %23")
    return path
