"""Pictures in zip archives."""

from __future__ import annotations

import lzma
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator

from ....core.protocol.media_limits import MediaLimits
from ..picture import BrokenAt, MemberAt, Picture, PictureError, Skip
from .bounded_read import read_picture
from .hidden import is_hidden
from .natural_order import natural_key

_ENCRYPTED = 1
#: What zipfile raises for damaged archives; some of it because it trusts what they say.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    RuntimeError,
)
#: Kept open: the one that is read, and those whose last members are still being read.
_MAX_OPEN = 4


def pictures_of_zip(path: str) -> Iterator[Picture | Skip]:
    """In natural order. Takes memory for the archive's directory."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                (info.filename, info.file_size) for info in archive.infolist() if not info.is_dir()
            ]
    except (*_DAMAGED, OSError) as error:
        reason = f"the zip archive can't be read: {_reason(error)}; copy it again"
        yield Picture(path, BrokenAt(reason), was_named=True)
        return
    members.sort(key=lambda member: natural_key(member[0].replace("/", "\1")))
    last = None
    for member, num_bytes in members:
        name = f"{path}!{member}"
        if is_hidden(member):
            yield Skip("hidden", name)
        elif member == last:
            yield Skip("listed twice", name)
        else:
            yield Picture(name, MemberAt(path, member, num_bytes=num_bytes))
        last = member


class _OpenZip:
    """zipfile counts its readers without a lock, so that they take turns here."""

    def __init__(self, path: str) -> None:
        self._archive = zipfile.ZipFile(path)
        self._turn = threading.Lock()
        self._is_closed = False

    def read(self, member: str, was_named: bool, limits: MediaLimits) -> bytes | None:
        """None if it was closed meanwhile."""
        with self._turn:
            if self._is_closed:
                return None
            info = self._archive.getinfo(member)
            if info.flag_bits & _ENCRYPTED:
                raise PictureError("it is encrypted; unpack the archive with its password")
            with self._archive.open(info) as file:
                return read_picture(file.read, info.file_size, member, was_named, limits)

    def close(self) -> None:
        with self._turn:
            self._is_closed = True
            self._archive.close()


class OpenZips:
    """Archives that are read from by several threads, the last few of which stay open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _OpenZip] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: str, member: str, was_named: bool, limits: MediaLimits) -> bytes:
        """Raises PictureError, NotAPictureError or OSError."""
        try:
            while (data := self._get(path).read(member, was_named, limits)) is None:
                pass
            return data
        except KeyError as error:
            raise PictureError("its archive doesn't have it any more") from error
        except _DAMAGED as error:
            raise PictureError(f"it can't be unpacked: {_reason(error)}") from error

    def close(self) -> None:
        """All."""
        with self._lock:
            for archive in self._open.values():
                archive.close()
            self._open.clear()

    def _get(self, path: str) -> _OpenZip:
        with self._lock:
            archive = self._open.get(path) or _OpenZip(path)
            self._open[path] = archive
            self._open.move_to_end(path)
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            return archive


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
