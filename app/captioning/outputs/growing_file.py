"""Files that grow, and that a crash or a full disk leaves whole."""

from __future__ import annotations

import os
from contextlib import suppress
from io import FileIO

from ....core.protocol.errors import RequestError
from ...whole_files import naming_file, sync_folder, write_whole
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
