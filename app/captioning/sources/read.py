"""The bytes of a picture, wherever they are."""

from __future__ import annotations

import os
import stat
from functools import partial

from ....core.media.sources.data_url import read_data_url
from ....core.protocol.media_error import MediaError
from ....core.protocol.media_limits import MediaLimits
from ...offline.url_reader import UrlReader
from ..picture import (
    BrokenAt,
    BytesAt,
    FileAt,
    MemberAt,
    NotAPictureError,
    Picture,
    PictureError,
    UrlAt,
)
from .bounded_read import check_size, read_picture
from .file_types import file_type
from .formats import HEAD, check_picture
from .zip_archives import OpenZips

#: A FIFO has no writer to wait for, and a terminal doesn't become ours.
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class SourceReader:
    """Several threads may read at once. limits: of which max_bytes is kept to here.
    urls: fetches from hosts, if there are any that may be; this closes it."""

    def __init__(self, limits: MediaLimits, urls: UrlReader | None = None) -> None:
        self._limits = limits
        self._urls = urls
        self._zips = OpenZips()

    def read(self, picture: Picture) -> bytes:
        """The file's bytes, which begin as those of a picture that can be decoded. Raises
        PictureError, with a reason that doesn't repeat the name, or NotAPictureError."""
        try:
            return self._read(picture)
        except OSError as error:
            raise PictureError(_reason(error, picture.was_named)) from error

    def close(self) -> None:
        """Let archives and connections go."""
        self._zips.close()
        if self._urls is not None:
            self._urls.close()

    def _read(self, picture: Picture) -> bytes:
        match picture.at:
            case FileAt(path):
                return self._file(path, picture.was_named)
            case MemberAt(archive, member, offset, num_bytes):
                if offset is None:
                    return self._zips.read(archive, member, picture.was_named, self._limits)
                return self._part(archive, offset, num_bytes, member, picture.was_named)
            case UrlAt(url):
                return self._whole(self._url(url), url.partition("?")[0], was_named=True)
            case BytesAt(data):
                return self._whole(data, picture.name, picture.was_named)
            case BrokenAt(reason):
                raise PictureError(reason)

    def _file(self, path: str, was_named: bool) -> bytes:
        # Devices are not even opened, as that alone may do something.
        _check_regular(_stat(path).st_mode, was_named)
        handle = os.open(path, _OPEN)
        try:
            status = os.fstat(handle)
            _check_regular(status.st_mode, was_named)
            read = partial(os.read, handle)
            return read_picture(read, status.st_size, path, was_named, self._limits)
        finally:
            os.close(handle)

    def _part(self, path: str, offset: int, num_bytes: int, name: str, was_named: bool) -> bytes:
        """A member of a tar that isn't compressed."""
        handle = os.open(path, _OPEN)
        end = offset + num_bytes

        def read(wanted: int) -> bytes:
            nonlocal offset
            part = os.pread(handle, min(wanted, end - offset), offset)
            offset += len(part)
            return part

        try:
            data = read_picture(read, num_bytes, name, was_named, self._limits)
        finally:
            os.close(handle)
        if len(data) < num_bytes:
            raise PictureError("its archive ends within it; copy the archive again")
        return data

    def _whole(self, data: bytes, name: str, was_named: bool) -> bytes:
        check_picture(data[:HEAD], name, was_named)
        check_size(len(data), self._limits)
        return data

    def _url(self, url: str) -> bytes:
        try:
            if url[:5].lower() == "data:":
                return read_data_url(url, self._limits.max_bytes)
            if self._urls is None:
                raise PictureError(
                    "pictures are fetched only from hosts that are named: give "
                    "--allowed-media-domains (allowed_media_domains)"
                )
            return self._urls.read(url)
        except MediaError as error:
            raise PictureError(_as_of_a_job(error, url)) from error


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except ValueError as error:
        raise PictureError("its path has a NUL character, which no file's has") from error


def _check_regular(mode: int, was_named: bool) -> None:
    if stat.S_ISREG(mode):
        return
    if was_named:
        raise PictureError(f"it is a {file_type(mode)}, not a file")
    raise NotAPictureError(file_type(mode))


def _reason(error: OSError, was_named: bool) -> str:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"it can't be read: {error.strerror or error}"
    if was_named:
        return "there is no such file; a list's and a table's paths are relative to its folder"
    return "it is gone since it was listed"


def _as_of_a_job(error: MediaError, url: str) -> str:
    """Without the URL, and with the advice for who runs a job rather than asks a server."""
    reason = str(error).removeprefix(f"{url.partition('?')[0]}: ")
    smaller, larger = (
        "send a smaller ",
        "raise --max-image-bytes (max_image_bytes), or take a smaller ",
    )
    return reason.replace(smaller, larger).replace("send a data: URL, or ", "")
