"""Files that a crash or a full disk leaves whole: those that grow, and those that are replaced."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO

from ....core.protocol.errors import RequestError
from ..picture import printable


class GrowingFile:
    """A file to which pieces are added, each whole or not at all. end: bytes up to which it is
    whole, and on the disk. Methods raise OSError with the file's name."""

    def __init__(self, path: str, end: int) -> None:
        """Opens it, without what is beyond `end`. Raises RequestError if it ends before."""
        self._path = path
        self.end = end
        with naming_file(path):
            self._file = self._open()
            self._cut()
        sync_folder(os.path.dirname(path))

    def add(self, data: bytes, tail: bytes = b"") -> None:
        """tail: comes behind it in the file, until more is added in its place."""
        try:
            self._write(data + tail)
        except OSError:
            with suppress(OSError):
                self._cut()
                self._write(tail)
            raise
        self.end += len(data)

    def close(self) -> None:
        """What has been added is on the disk already."""
        self._file.close()

    def _open(self) -> FileIO:
        if not self.end:
            return FileIO(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        try:
            file = FileIO(self._path, "r+")
        except FileNotFoundError as error:
            raise _was_changed(self._path, "is gone") from error
        if os.fstat(file.fileno()).st_size < self.end:
            file.close()
            raise _was_changed(self._path, "is shorter than this job left it")
        return file

    def _cut(self) -> None:
        self._file.truncate(self.end)
        os.fsync(self._file.fileno())

    def _write(self, data: bytes) -> None:
        with naming_file(self._path):
            self._file.seek(self.end)
            write_whole(self._file, data)
            os.fsync(self._file.fileno())


def _was_changed(path: str, how: str) -> RequestError:
    return RequestError(
        f"{printable(path)} {how}: somebody changed it; bring it back, or begin anew with "
        "--overwrite"
    )


def write_whole(file: FileIO, data: bytes) -> None:
    """A full disk takes a part, and refuses the rest with OSError."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def replace_file(path: str, data: bytes) -> None:
    """Its content is the old or the new one at any time. Its folder is to be synchronised by the
    caller. Raises OSError with the file's name."""
    with replacing(path) as temporary, naming_file(path), FileIO(temporary, "w") as file:
        write_whole(file, data)
        os.fsync(file.fileno())


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """The name of a new file, to be written and synchronised within, that takes the place of
    another; if that fails, it is gone. Raises OSError with the latter's name."""
    # Its name is short, as the other's may have as many bytes as a name can; hidden, so that no
    # source takes it for a picture; and the same each time, so that a crash leaves no second one.
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".octavo-{zlib.crc32(os.fsencode(name)):08x}.tmp")
    try:
        yield temporary
        with naming_file(path):
            with suppress(FileNotFoundError):
                os.chmod(temporary, os.stat(path).st_mode & 0o7777)
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def sync_folder(folder: str) -> None:
    """So that names in it outlast a power cut. The current one has no name."""
    # Some file systems, as of networks, can't; and a folder may be written that can't be read.
    with suppress(OSError):
        handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def naming_file(path: str) -> Iterator[None]:
    """Raises OSError with the file's name for one without it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
